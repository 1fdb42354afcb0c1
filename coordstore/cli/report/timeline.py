"""The timeline of a session: a lane for each task, a bar for each attempt, a tick for each tool call."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.cli.report.markup import Markup, tag
from coordstore.cli.report.parts import attempt_id, duration, ref_link, state, task_word, tone, word
from coordstore.cli.times import local_time, parse_time

if TYPE_CHECKING:
    from datetime import datetime

    from coordstore.cli.report.account import Account
    from coordstore.session.task import Attempt, Task

__all__ = ["timeline"]


def timeline(account: Account) -> Markup:
    """Return the section; what its bars show stands in words beside them."""
    begin, end = account.bounds
    scale = tag(
        "div",
        tag("span", local_time(begin.isoformat())),
        tag("span", duration((end - begin).total_seconds())),
        tag("span", local_time(end.isoformat())),
        class_="scale",
    )
    lanes = [_lane(account, task) for task in account.view.ordered()]
    legend = "Each bar is an attempt; a thin line in it is a tool call, a thick red one a tool call that failed."
    return tag(
        "section",
        tag("h2", "Timeline"),
        tag("p", legend, class_="told"),
        tag("div", tag("p", "From start to end"), scale, class_="lane", aria_hidden="true"),
        *lanes,
        id="timeline",
    )


def _lane(account: Account, task: Task) -> Markup:
    bars = [_bar(account, attempt) for attempt in task.attempts]
    told = [_told(account, attempt) for attempt in task.attempts]
    head = tag("p", ref_link(task.id), " ", state(task_word(account.view, task)), tag("br"), task.name)
    track = tag("div", *bars, class_="track", aria_hidden="true")
    said = told or [tag("p", "no attempt", class_="told")]
    return tag("div", head, tag("div", track, *said), class_="lane")


def _bar(account: Account, attempt: Attempt) -> Markup:
    span = account.span(attempt)
    if span is None:
        return Markup()
    bounds = account.bounds
    left, right = (_share(at, bounds) for at in span)
    ticks = []
    for call in account.tally(attempt.agent).calls:
        at = parse_time(call.at)
        if at is not None and span[0] <= at <= span[1]:
            failed = "tick bad" if call.good is False else "tick"
            ticks.append(tag("span", class_=failed, style=f"left:{_share(at, bounds):.2f}%"))
    place = f"left:{left:.2f}%;width:{right - left:.2f}%"
    return Markup(tag("span", class_=f"bar {tone(word(attempt))}", style=place) + "".join(ticks))


def _share(at: datetime, bounds: tuple[datetime, datetime]) -> float:
    """Return a moment's place between two others, in percent."""
    whole = (bounds[1] - bounds[0]).total_seconds()
    return min(100.0, max(0.0, 100 * (at - bounds[0]).total_seconds() / whole)) if whole else 0.0


def _told(account: Account, attempt: Attempt) -> Markup:
    """Return an attempt's bar in words."""
    tally = account.tally(attempt.agent)
    steps = max(tally.steps, attempt.number_of("step") or 0)
    failed = f" ({tally.tool_failures} failed)" if tally.tool_failures else ""
    parts = [
        duration(account.seconds(attempt)),
        f"{steps} steps",
        f"{tally.tool_calls} tool calls{failed}",
        *(verdict.text for verdict in tally.verdicts[-2:]),
    ]
    link = tag("a", attempt.agent, href=f"#{attempt_id(attempt.agent)}")
    return tag("p", link, " ", state(word(attempt)), f": {', '.join(parts)}", class_="told")
