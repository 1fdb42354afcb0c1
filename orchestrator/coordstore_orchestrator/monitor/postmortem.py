"""What became of the attempts of each task that did not come through, for whoever looks for the reason later."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordstore.model import Put
from coordstore.session import State
from coordstore.session.values import as_object, as_value

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.session import Attempt, SessionView, Task
    from coordstore.session.session import Session
    from coordstore.store import Fence

__all__ = ["kept_work", "postmortem", "write_postmortems"]


def postmortem(view: SessionView, task: Task) -> dict[str, Any]:
    """Return the record of one task that failed."""
    return {
        "task": task.id,
        "name": task.name,
        "reason": view.reason(task),
        "attempts": [dict(_attempt(attempt)) for attempt in task.attempts],
    }


def kept_work(attempt: Attempt) -> str | None:
    """Return the commit that an attempt's work ends at, on the branch of its name; None: it did nothing."""
    commit, base = attempt.result.get("commit"), attempt.json("assignment").get("base")
    return str(commit) if commit and commit != base else None


async def write_postmortems(session: Session, view: SessionView, fence: Fence) -> None:
    """Write the record of each task that failed or was left out; those that stand there already stay.

    Raises:
        Fenced: Another orchestrator leads by now.
    """
    for task in view.ordered():
        if task.state is not State.FAILED and not view.left_out(task.id):
            continue
        key, record = session.keys.postmortem(task.id), postmortem(view, task)
        if as_object(view.entries.get(key)) != record:
            await session.store.transact([Put(key, as_value(record))], fence=fence)


def _attempt(attempt: Attempt) -> Iterator[tuple[str, Any]]:
    result, work = attempt.result, kept_work(attempt)
    yield from {"agent": attempt.agent, "state": str(attempt.state), "reason": attempt.reason}.items()
    told = {name: result.get(name) for name in ("code", "exit", "signal", "said")}
    more = {
        "started": attempt.text("started"),
        "ended": attempt.text("ended"),
        "hint": attempt.json("assignment").get("hint"),
        "verdict": attempt.json("verdict") or None,
        "branch": attempt.agent if work else None,
        "commit": work,
    }
    yield from ((name, value) for name, value in {**told, **more}.items() if value is not None)
