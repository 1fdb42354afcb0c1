"""A plan's work as one task for one agent: for when several agents do not pay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore_orchestrator.plan.errors import PlanError
from coordstore_orchestrator.plan.graph import Graph
from coordstore_orchestrator.plan.model import Limits, Plan, Task

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["as_one"]

NAME: str = "all"


def as_one(plan: Plan) -> Plan | None:
    """Return the plan with one task that does the work of all, in their order; None when one agent cannot do it.

    It cannot when the plan has one task only, when tasks name different agents or classes of workers, or when all
    together are more than one task can hold. Limits of single tasks do not apply to all of them, and go.
    """
    agents = {repr(plan.agent_of(task)) for task in plan.tasks}
    if len(plan.tasks) == 1 or len(agents) != 1 or len({task.labels for task in plan.tasks}) != 1:
        return None
    tasks = {task.id: task for task in plan.tasks}
    ordered = [tasks[name] for name in Graph(plan).order()]
    one = {
        "id": NAME,
        "name": plan.goal[:100],
        "prompt": "\n\n".join(f"# {task.name}\n\n{task.prompt}" for task in ordered),
        "writes": _each(path for task in ordered for path in task.writes),
        "reads": _each(path for task in ordered for path in task.reads),
        "accept": _each(text for task in ordered for text in task.accept),
        "checks": _each(text for task in ordered for text in task.checks),
        "labels": ordered[0].labels,
        "agent": ordered[0].agent,
        "limits": Limits(attempts=max((task.limits.attempts or 1 for task in ordered), default=1)),
    }
    try:
        return plan.model_copy(update={"tasks": (Task.model_validate(one),)})
    except (PlanError, ValueError):  # more than one task can hold
        return None


def _each(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))
