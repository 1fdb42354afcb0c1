"""The sections of the report's page that tell of outcomes: failures with their evidence, the merge, the cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.cli.advice import concerns, standing
from coordstore.cli.report.markup import Markup, tag
from coordstore.cli.report.parts import amount, attempt_id, duration, money, ref_link, state, task_word, word
from coordstore.session.keys import SESSION_STREAM
from coordstore.session.values import strings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.cli.report.account import Account
    from coordstore.session.task import Task

__all__ = ["cost", "failures", "merge", "row"]


def failures(account: Account) -> Markup:
    """Return what went wrong, each with its evidence and the commands that show more."""
    cards = [_failure(account, task) for task in account.failures]
    stuck = [
        tag("div", tag("p", f"{found.task + ': ' if found.task else ''}{found.text}"), class_="card warn")
        for found in concerns(account.view)
    ]
    fine = [] if cards or stuck else [tag("p", "Nothing failed, nothing was left out.", class_="good")]
    return tag("section", tag("h2", f"What needs a look ({len(cards) + len(stuck)})"), *stuck, *cards, *fine, id="look")


def _failure(account: Account, task: Task) -> Markup:
    latest, session = task.latest, account.view.session
    said = task_word(account.view, task)
    lines = [
        tag("h3", ref_link(task.id), " ", state(said), f" {task.name}"),
        tag("p", account.view.reason(task) or "no reason was recorded"),
    ]
    if files := strings(account.view.merged(task.id).get("files")):
        lines.append(tag("p", "files: ", tag("code", ", ".join(files))))
    if latest is not None:
        lines += _evidence(account, latest.agent)
        lines.append(tag("p", "More: ", tag("code", f"coord logs {latest.agent} --session {session}")))
    return tag("article", *lines, class_="card warn" if said == "cancelled" else "card bad")


def _evidence(account: Account, agent: str) -> list[Markup]:
    """Return what there is to show of an attempt that failed: failed checks with output, last errors, last words."""
    tally = account.tally(agent)
    shown = []
    for verdict in tally.verdicts:
        if not verdict.good:
            shown += [tag("p", verdict.text), *([tag("pre", verdict.output)] if verdict.output else [])]
    for title, said in (("Its last errors", tally.last_errors), ("Its last words", tally.last_words)):
        if said:
            shown += [tag("p", title), tag("pre", "\n".join(said))]
    return shown


def merge(account: Account) -> Markup:
    """Return what landed, as what, and what did not."""
    view = account.view
    ref, commit = view.result.get("ref"), view.result.get("commit")
    if isinstance(ref, str):
        branch = ref.removeprefix("refs/heads/")
        head = [
            tag("p", "The result is ", tag("code", branch), f" at {str(commit)[:12]}. Take it with:"),
            tag("pre", f"git merge {branch}"),
        ]
    else:
        head = [tag("p", "Nothing has landed in the repository.")]
    rows = [
        row(
            ("Task", ref_link(task.id)),
            ("Work", state(task_word(view, task))),
            ("Commit", tag("code", str(view.merged(task.id).get("commit") or task_commit(task))[:12])),
            ("Why", _why(account, task)),
        )
        for task in view.ordered()
    ]
    whole = account.tally(SESSION_STREAM).verdicts
    checks = [tag("p", verdict.text, class_="good" if verdict.good else "bad") for verdict in whole]
    return tag(
        "section", tag("h2", "Merge result"), *head, *checks, _table("Work by task", _heads(rows), rows), id="merge"
    )


def task_commit(task: Task) -> str:
    """Return the commit that a task's latest attempt ended at; empty before."""
    return str(task.latest.result.get("commit") or "") if task.latest else ""


def _why(account: Account, task: Task) -> str:
    if standing(account.view, task) in ("landed", "merged"):
        return ""
    return account.view.reason(task) or ""


def cost(account: Account) -> Markup:
    """Return what each attempt took, and the sum."""
    rows = []
    for attempt in account.attempts:
        tally = account.tally(attempt.agent)
        rows.append(
            row(
                ("Attempt", tag("a", attempt.agent, href=f"#{attempt_id(attempt.agent)}")),
                ("Outcome", state(word(attempt))),
                ("Time", duration(account.seconds(attempt))),
                ("Tool calls", amount(tally.tool_calls)),
                ("Tokens in", amount(tally.input_tokens)),
                ("Tokens out", amount(tally.output_tokens)),
                ("Cost", money(tally.cost_usd)),
                numbers=2,
            )
        )
    sums = account.totals()
    total = row(
        ("Attempt", tag("strong", "all")),
        ("Outcome", ""),
        ("Time", duration(sums["agent_seconds"])),
        ("Tool calls", amount(sums["tool_calls"])),
        ("Tokens in", amount(sums["input_tokens"])),
        ("Tokens out", amount(sums["output_tokens"])),
        ("Cost", money(account.cost)),
        numbers=2,
    )
    told = "A dash: the agent did not say. Time is that of agents; those that ran side by side are all counted."
    heads = _heads([total], numbers=2)
    return tag(
        "section", tag("h2", "Cost"), tag("p", told, class_="told"), _table("", heads, [*rows, total]), id="cost"
    )


def row(*cells: tuple[str, str], numbers: int = 99) -> tuple[Sequence[str], Markup]:
    """Return a row of a table with the names of its columns; those from `numbers` on stand at the right."""
    (first_name, first), *others = cells
    parts = [tag("th", first, scope="row", data_name=first_name)]
    parts += [
        tag("td", each, data_name=name, class_="n" if at >= numbers else None)
        for at, (name, each) in enumerate(others, 1)
    ]
    return [name for name, _ in cells], tag("tr", *parts)


def _heads(rows: Sequence[tuple[Sequence[str], Markup]], numbers: int = 99) -> Markup:
    names = rows[0][0] if rows else []
    return tag(
        "tr", *(tag("th", name, scope="col", class_="n" if at >= numbers else None) for at, name in enumerate(names))
    )


def _table(caption: str, heads: Markup, rows: Sequence[tuple[Sequence[str], Markup]]) -> Markup:
    said = [tag("caption", caption)] if caption else []
    return tag("table", *said, tag("thead", heads), tag("tbody", *(each for _, each in rows)), class_="stack")
