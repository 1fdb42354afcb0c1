"""The report as one page: no network, no script, readable without colours, on a phone and on paper.

A policy in its head forbids whatever could be fetched or run, should a text of an agent ever become markup after all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.cli.advice import waits_for
from coordstore.cli.report.graph import drawing
from coordstore.cli.report.looks import STYLE
from coordstore.cli.report.markup import Markup, tag
from coordstore.cli.report.parts import (
    amount,
    attempt_id,
    duration,
    money,
    ref_link,
    state,
    task_id,
    task_word,
    tone,
    word,
)
from coordstore.cli.report.sections import cost, failures, merge, row
from coordstore.cli.report.timeline import timeline
from coordstore.cli.times import local_time
from coordstore.session.values import strings, words

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coordstore.cli.report.account import Account
    from coordstore.cli.report.tally import Mark, Verdict
    from coordstore.session.task import Attempt, Task

__all__ = ["page"]

POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
SECTIONS: Final = {
    "look": "What needs a look",
    "merge": "Merge result",
    "timeline": "Timeline",
    "graph": "Dependencies",
    "cost": "Cost",
    "tasks": "Tasks",
}


def page(account: Account) -> str:
    """Return the whole page as HTML."""
    view = account.view
    title = f"{view.session}: {view.state}"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=POLICY),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="robots", content="noindex"),
        tag("title", title),
        tag("style", Markup(STYLE)),
    )
    links = [tag("li", tag("a", said, href=f"#{name}")) for name, said in SECTIONS.items()]
    graph = tag("div", drawing(view), class_="scroll", tabindex="0", role="region", aria_label="Dependency graph")
    seen = f"Session {view.session} at revision {view.revision}, seen {account.now:%Y-%m-%d %H:%M:%S} UTC."
    body = tag(
        "body",
        tag("a", "To the content", href="#main", class_="skip"),
        _header(account),
        tag("nav", tag("ul", *links), aria_label="Sections"),
        tag(
            "main",
            failures(account),
            merge(account),
            timeline(account),
            tag("section", tag("h2", "Dependencies"), graph, id="graph"),
            cost(account),
            tag("section", tag("h2", "Tasks"), *(_task(account, task) for task in view.ordered()), id="tasks"),
            id="main",
        ),
        tag("footer", tag("p", seen)),
    )
    return "<!doctype html>\n" + tag("html", head, body, lang="en") + "\n"


def _header(account: Account) -> Markup:
    view, sums = account.view, account.totals()
    tokens = amount(sums["input_tokens"] + sums["output_tokens"])
    facts = {
        "Tasks landed": f"{sums['landed']} of {sums['tasks']}",
        "Attempts": amount(sums["attempts"]),
        "Time": duration(sums["seconds"]),
        "Agents' time": duration(sums["agent_seconds"]),
        "Tool calls": amount(sums["tool_calls"]),
        "Tokens": tokens,
        "Cost": money(account.cost),
    }
    goal = words(view.meta.get("goal")) or view.session
    shown = [tag("div", tag("dt", name), tag("dd", said)) for name, said in facts.items()]
    return tag(
        "header",
        tag("h1", goal),
        tag("p", state(view.state), " ", tag("span", f"session {view.session}", class_="soft")),
        tag("dl", *shown, class_="facts"),
    )


def _task(account: Account, task: Task) -> Markup:
    view, spec = account.view, task.spec
    said = task_word(view, task)
    lines = [tag("h3", f"{task.id} ", state(said), f" {task.name}")]
    if needs := [ref_link(need) if need in view.tasks else need for need in task.needs]:
        parts = [part for need in needs for part in (", ", need)][1:]
        waits = f" (waits for {', '.join(waits_for(view, task))})" if waits_for(view, task) else ""
        lines.append(tag("p", "Needs ", *parts, waits))
    if reason := view.reason(task):
        lines.append(tag("p", reason))
    for name, title in (("writes", "May write"), ("accept", "To be met"), ("checks", "Checks")):
        if listed := strings(spec.get(name)):
            lines.append(tag("p", f"{title}: ", tag("code", "; ".join(listed))))
    if prompt := words(spec.get("prompt")):
        lines.append(tag("details", tag("summary", f"Prompt of {task.id}"), tag("pre", prompt)))
    lines += [_attempt(account, attempt) for attempt in task.attempts]
    return tag("article", *lines, id=task_id(task.id), class_=f"card {tone(said)}")


def _attempt(account: Account, attempt: Attempt) -> Markup:
    tally = account.tally(attempt.agent)
    where = [
        f"{name} {said}" for name in ("host", "pid", "branch", "worktree") if (said := attempt.text(name)) is not None
    ]
    lines = [
        tag("p", tag("strong", attempt.agent), " ", state(word(attempt)), f" {duration(account.seconds(attempt))}"),
        *([tag("p", attempt.reason)] if attempt.reason else []),
        *([tag("p", tag("code", ", ".join(where)), class_="told")] if where else []),
    ]
    lines += [_verdict(verdict) for verdict in tally.verdicts]
    if tally.first:
        count = len(tally.first) + len(tally.last) + tally.left_out
        lines.append(
            tag("details", tag("summary", f"{amount(count)} events of {attempt.agent}"), _events(account, attempt))
        )
    return tag("div", *lines, id=attempt_id(attempt.agent))


def _verdict(verdict: Verdict) -> Markup:
    mark, tone_of = ("✓ ", "good") if verdict.good else ("✗ ", "bad")
    return tag("p", tag("span", mark, aria_hidden="true"), verdict.text, class_=tone_of)


def _events(account: Account, attempt: Attempt) -> Markup:
    tally = account.tally(attempt.agent)
    gap = [tag("tr", tag("td", f"{tally.left_out} events are left out here: coord events shows them", colspan=3))]
    rows = [*_rows(tally.first), *(gap if tally.left_out else []), *_rows(tally.last)]
    heads = tag("tr", *(tag("th", name, scope="col") for name in ("Time", "Event", "What")))
    return tag("table", tag("thead", heads), tag("tbody", *rows), class_="stack")


def _rows(marks: Iterable[Mark]) -> list[Markup]:
    rows = []
    for mark in marks:
        good = {False: "bad", True: "good", None: None}[mark.good]
        said = tag("span", mark.text, class_=good)
        rows.append(row(("Time", local_time(mark.at)), ("Event", mark.kind), ("What", said))[1])
    return rows
