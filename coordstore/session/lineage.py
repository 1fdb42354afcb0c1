"""Which task is whose subtask: how deep it lies, whose work it is part of, and where it stands among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordstore.session.values import strings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.session.view import SessionView

__all__ = ["depth_of", "path_of", "whole_of"]

FOLLOWED: Final = 8
"""How far up parents are followed: further than subtasks can lie."""


def depth_of(spec: Mapping[str, Any]) -> int:
    """Return how deep a task lies below the plan's: 0 is one of the plan."""
    said = spec.get("depth")
    return said if isinstance(said, int) else 0


def whole_of(view: SessionView, task: str) -> str | None:
    """Return the task of the plan whose merged work has a task's work in it, itself or one above; None: none has.

    Args:
        view: The session.
        task: Any task.
    """
    for _ in range(FOLLOWED):
        found = view.tasks.get(task)
        if found is None or found.parent is None:
            return task
        parent = view.attempt(found.parent)
        if parent is None or task not in strings(parent.result.get("taken")):
            return None
        task = parent.task
        if view.merged(task).get("agent") != parent.agent:
            return None
    return None


def path_of(view: SessionView, task: str) -> list[str]:
    """Return the tasks from one without a parent down to a task that there is, this one last."""
    path = [task]
    for _ in range(FOLLOWED):
        parent = view.tasks[path[0]].parent
        above = parent.rpartition(".")[0] if parent else ""
        if above not in view.tasks or above in path:
            break
        path.insert(0, above)
    return path
