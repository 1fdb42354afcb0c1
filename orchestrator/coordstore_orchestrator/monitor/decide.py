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
from coordstore.session.subtasks import unwanted
from coordstore_orchestrator.merge.conflicts import as_hint
from coordstore_orchestrator.monitor.fallback import AddTask, whole_task
from coordstore_orchestrator.monitor.recovery import INTERRUPTED, LOST, Retry, retry_of
from coordstore_orchestrator.monitor.subtasks import EndSubtask, Return, to_end, to_return

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
    "decide_task",
    "fate",
    "in_order",
    "over",
    "retries_left",
    "settled",
]


@dataclass(frozen=True, slots=True)
class Assign:
    """Make the task's next attempt, which is this one.

    Args:
        task: The task.
        attempt: The number.
        hint: What it is told beyond the prompt.
        other: How many profiles of the fall-back chain it passes over.
        wait: Seconds before it.
    """

    task: str
    attempt: int
    hint: str | None = None
    other: int = 0
    wait: float = 0.0


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


Action = Assign | CancelTask | EndLost | Integrate | AddTask | EndSubtask | Return


def decide(view: SessionView) -> list[Action]:
    """Return everything that can be done now; nothing when all waits for workers, or all is settled.

    This is the definition: it looks at all tasks. `Decisions` finds the same by looking at those that changed.

    Of a session whose tasks have not all been written yet nothing can be said; in one that is paused nothing starts.
    Integrations come in the order of completion, which keeps dependencies before what needs them.
    """
    if not view.ready:
        return []
    actions = [action for task in view.ordered() if (action := decide_task(view, task)) is not None]
    if all(settled(view, task) for task in view.tasks.values()) and (whole := whole_task(view)) is not None:
        actions.append(whole)
    return [action for action in in_order(view, actions) if not (view.paused and isinstance(action, Assign))]


def decide_task(view: SessionView, task: Task) -> Action | None:
    """Return what can be done now for one task, which follows from its own keys, its parent's and its needs' `fate`."""
    latest = task.latest
    if latest is not None and latest.lost:
        return EndLost(latest.agent)
    if task.parent is not None:
        return _decide_subtask(view, task)
    if latest is not None and latest.state is State.COMPLETED:
        verdict = _verdict(view, task)
        if not verdict and not _in_review(view, latest.agent):
            return Integrate(task.id, latest.agent)
        return Assign(task.id, task.next_attempt, as_hint(verdict)) if verdict.get("returned") else None
    if not settled(view, task) and _may_start(latest):
        return _start(view, task)
    return None


def in_order(view: SessionView, actions: Iterable[Action]) -> list[Action]:
    """Return actions in the order in which they are done: integrations last, by completion, the others as they come."""

    def place(action: Action) -> int:
        if not isinstance(action, Integrate):
            return 0
        attempt = view.attempt(action.agent)
        return attempt.entries["status"].revision if attempt else 0

    return sorted(actions, key=place)


def over(view: SessionView) -> bool:
    """Tell whether nothing will happen to a session any more: all is settled, and nothing is left to try."""
    return all(settled(view, task) for task in view.tasks.values()) and whole_task(view) is None


def settled(view: SessionView, task: Task) -> bool:
    """Tell whether nothing will happen to a task any more."""
    latest = task.latest
    if latest is None or latest.state in (State.PENDING, State.RUNNING):
        return False
    if task.parent is not None and (latest.state is State.COMPLETED or unwanted(view, task)):
        return True
    if latest.state is State.COMPLETED:
        verdict = _verdict(view, task)
        return bool(verdict) and not verdict.get("returned")
    return not retries_left(task, view.meta.get("recovery"))


def _decide_subtask(view: SessionView, task: Task) -> Action | None:
    """Return what starts a subtask, ends one that nobody waits for, or tells its parent what came of it."""
    if settled(view, task):
        return to_return(view, task)
    why = unwanted(view, task)
    if why and task.latest is None:
        return CancelTask(task.id, task.next_attempt, why)
    return to_end(view, task) or (_start(view, task) if _may_start(task.latest) else None)


def _in_review(view: SessionView, agent: str) -> bool:
    change = change_in(view, agent)
    return change is not None and change.state is ChangeState.OPEN


def _verdict(view: SessionView, task: Task) -> Mapping[str, Any]:
    """Return how the latest attempt's work was integrated or refused (empty: neither yet)."""
    record = view.merged(task.id)
    latest = task.latest
    return record if latest is not None and record.get("agent", latest.agent) == latest.agent else {}


def retries_left(task: Task, policy: object = None) -> bool:
    """Tell whether a task whose latest attempt failed or was cancelled gets another one."""
    return retry_of(task, policy) is not None


def _may_start(latest: Attempt | None) -> bool:
    return latest is None or latest.state in (State.FAILED, State.CANCELLED)


def fate(view: SessionView, task: Task) -> bool | None:
    """Return what has become of a task for those that need it: merged, settled without that, or not decided yet."""
    if view.merged(task.id).get("merged"):
        return True
    return False if settled(view, task) else None


def _start(view: SessionView, task: Task) -> Assign | CancelTask | None:
    """Return what starts a task, or cancels it, once its needs are decided."""
    ready = True
    for need in task.needs:
        needed = view.tasks.get(need)
        if needed is None:
            return CancelTask(task.id, task.next_attempt, f"needs {need}, which this session does not have")
        became = fate(view, needed)
        if became is False:
            return CancelTask(task.id, task.next_attempt, f"needs {need}, which {_told(view, needed)}")
        ready = ready and became is True
    if not ready:
        return None
    retry = retry_of(task, view.meta.get("recovery")) or Retry()
    return Assign(task.id, task.next_attempt, _hint(view, task, retry), retry.other, retry.wait)


def _told(view: SessionView, task: Task) -> str:
    if view.left_out(task.id):
        return "was not merged"
    return "failed" if task.state is State.FAILED else "was cancelled"


def _hint(view: SessionView, task: Task, retry: Retry) -> str | None:
    record = view.merged(task.id)
    told = [as_hint(record)] if record.get("returned") else []
    return "\n".join([*told, *([retry.hint] if retry.hint else [])]) or None
