"""What the orchestrator does next, as a pure function of the session's view: no store, no clock, no git.

A task goes through: waiting for its needs → assigned → (claimed, run, verified by a worker) → completed →
integrated. It *settles* when it is integrated, refused at integration, or failed or cancelled with no attempt left.
A need that settled without being integrated cancels what depends on it, with that reason. Work that conflicts
may go back: then the merge says so in its record, and the task gets another attempt.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordstore.session import State
from coordstore.session.changes import ChangeState, change_in
from coordstore_orchestrator.merge.conflicts import as_hint

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coordstore.session import Attempt, SessionView, Task

__all__ = [
    "INTERRUPTED",
    "LOST",
    "Action",
    "Assign",
    "CancelTask",
    "EndLost",
    "Integrate",
    "decide",
    "retries_left",
    "settled",
]

INTERRUPTED = "interrupted"
"""Result code of an attempt that was cut off by its own orchestrator's end: resuming tries again."""
LOST = "lost"
"""Result code of an attempt whose worker died: trying again costs none of the task's attempts."""


@dataclass(frozen=True, slots=True)
class Assign:
    """Make the task's next attempt, which is this one."""

    task: str
    attempt: int
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class CancelTask:
    """Cancel a task that cannot start any more, by this attempt."""

    task: str
    attempt: int
    reason: str


@dataclass(frozen=True, slots=True)
class EndLost:
    """Fail an attempt that is said to run and that nobody holds."""

    agent: str


@dataclass(frozen=True, slots=True)
class Integrate:
    """Merge the work of a completed attempt."""

    task: str
    agent: str


Action = Assign | CancelTask | EndLost | Integrate


def decide(view: SessionView) -> list[Action]:
    """Return everything that can be done now; nothing when all waits for workers, or all is settled.

    Of a session whose tasks have not all been written yet nothing can be said. Integrations come in the order of
    completion, which keeps dependencies before what needs them.
    """
    if not view.ready:
        return []
    actions: list[Action] = []
    completed: list[tuple[int, Integrate]] = []
    for task in view.ordered():
        latest = task.latest
        if latest is not None and latest.lost:
            actions.append(EndLost(latest.agent))
        elif latest is not None and latest.state is State.COMPLETED:
            verdict = _verdict(view, task)
            if not verdict and not _in_review(view, latest.agent):
                completed.append((latest.entries["status"].revision, Integrate(task.id, latest.agent)))
            elif verdict.get("returned"):
                actions.append(Assign(task.id, task.next_attempt, as_hint(verdict)))
        elif not settled(view, task) and _may_start(latest):
            actions.extend(_start(view, task))
    actions.extend(action for _, action in sorted(completed, key=lambda pair: pair[0]))
    return actions


def settled(view: SessionView, task: Task) -> bool:
    """Tell whether nothing will happen to a task any more."""
    latest = task.latest
    if latest is None or latest.state in (State.PENDING, State.RUNNING):
        return False
    if latest.state is State.COMPLETED:
        verdict = _verdict(view, task)
        return bool(verdict) and not verdict.get("returned")
    return not retries_left(task)


def _in_review(view: SessionView, agent: str) -> bool:
    change = change_in(view, agent)
    return change is not None and change.state is ChangeState.OPEN


def _verdict(view: SessionView, task: Task) -> Mapping[str, Any]:
    """Return how the latest attempt's work was integrated or refused (empty: neither yet)."""
    record = view.merged(task.id)
    latest = task.latest
    return record if latest is not None and record.get("agent", latest.agent) == latest.agent else {}


def retries_left(task: Task) -> bool:
    """Tell whether a task whose latest attempt failed or was cancelled gets another one."""
    latest = task.latest
    if latest is None:
        return True
    code = latest.result.get("code")
    if code in (LOST, INTERRUPTED):
        return True
    limits = task.spec.get("limits")
    limit = limits.get("attempts") if isinstance(limits, dict) else None
    spent = sum(attempt.result.get("code") not in (LOST, INTERRUPTED) for attempt in task.attempts)
    return latest.state is State.FAILED and spent < (limit if isinstance(limit, int) else 1)


def _may_start(latest: Attempt | None) -> bool:
    return latest is None or latest.state in (State.FAILED, State.CANCELLED)


def _start(view: SessionView, task: Task) -> Iterator[Action]:
    """Yield what starts a task, or cancels it, once its needs are decided."""
    for need in task.needs:
        needed = view.tasks.get(need)
        if needed is None:
            yield CancelTask(task.id, task.next_attempt, f"needs {need}, which this session does not have")
            return
        if settled(view, needed) and not view.merged(need).get("merged"):
            yield CancelTask(task.id, task.next_attempt, f"needs {need}, which {_fate(view, needed)}")
            return
    if all(view.merged(need).get("merged") for need in task.needs):
        yield Assign(task.id, task.next_attempt, _hint(view, task))


def _fate(view: SessionView, task: Task) -> str:
    if view.left_out(task.id):
        return "was not merged"
    return "failed" if task.state is State.FAILED else "was cancelled"


def _hint(view: SessionView, task: Task) -> str | None:
    latest, record = task.latest, view.merged(task.id)
    told = [as_hint(record)] if record.get("returned") else []
    if latest is not None and latest.state is State.FAILED:
        told.append(f"An earlier attempt at this task ended without success: {latest.reason}")
    return "\n".join(told) or None
