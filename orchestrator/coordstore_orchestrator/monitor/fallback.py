"""When every task of a session has failed: one agent gets the original task, whole; a pure function of the view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coordstore.session import State
from coordstore.session.values import strings, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from coordstore.session import SessionView, Task

__all__ = ["AddTask", "whole_task"]

NAME: Final = "whole"
TOLD: Final = 300
"""Characters that are told of why a part failed."""


@dataclass(frozen=True, slots=True)
class AddTask:
    """Add a task to the session.

    Args:
        task: Its id.
        spec: What it is.
    """

    task: str
    spec: Mapping[str, Any]


def whole_task(view: SessionView) -> AddTask | None:
    """Return the task that is left to try when all others have failed; None: there is none.

    It takes an agent that is meant for the session as a whole (the plan's, or the run's), several tasks of which
    none came through, and nobody who cancelled one. All tasks must be settled.
    """
    agent, tasks = view.meta.get("alone"), view.planned()
    if agent is None or len(tasks) < 2 or any(task.spec.get("fallback") for task in tasks):  # noqa: PLR2004  (several)
        return None
    if any(view.merged(task.id).get("merged") or _cancelled(task) for task in tasks):
        return None
    if not any(task.state is State.FAILED or view.left_out(task.id) for task in tasks):
        return None
    return AddTask(_free(view), _spec(view, tasks, agent))


def _cancelled(task: Task) -> bool:
    """Tell whether a person cancelled a task; one that could not start was not."""
    return task.state is State.CANCELLED and not (task.reason or "").startswith("needs ")


def _free(view: SessionView) -> str:
    names = [NAME, *(f"{NAME}-{number}" for number in range(2, len(view.tasks) + 2))]
    return next(name for name in names if name not in view.tasks)


def _spec(view: SessionView, tasks: Iterable[Task], agent: object) -> dict[str, Any]:
    parts, writes, reads, accept, checks = [], [], [], [], []
    for task in tasks:
        parts.append(f"## {task.name}\n{words(task.spec.get('prompt')) or ''}\nAlone it failed: {_why(view, task)}")
        writes += strings(task.spec.get("writes"))
        reads += strings(task.spec.get("reads"))
        accept += strings(task.spec.get("accept"))
        checks += strings(task.spec.get("checks"))
    goal = words(view.meta.get("goal")) or "Do all of this."
    said = "Several agents tried its parts side by side and none came through. Do all of it, one part after the other."
    return {
        "name": goal[:TOLD],
        "prompt": "\n\n".join([goal, said, *parts]),
        "writes": _once(writes),
        "reads": _once(reads),
        "accept": _once(accept),
        "checks": _once(checks),
        "agent": agent,
        "fallback": True,
    }


def _why(view: SessionView, task: Task) -> str:
    return (view.reason(task) or "it did not say why")[:TOLD]


def _once(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
