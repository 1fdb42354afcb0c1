"""Whether a well-formed plan can be run: all that is wrong with it as a whole, in one error, before anything starts."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from coordstore_orchestrator.plan.conflicts import conflicts
from coordstore_orchestrator.plan.errors import PlanError, Problem, shown
from coordstore_orchestrator.plan.graph import Graph, cycle_problem
from coordstore_orchestrator.plan.translate import closest

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from coordstore_orchestrator.plan.model import Plan

__all__ = ["check_plan"]

NAMED = 20
"""Tasks that one sentence names."""


def check_plan(plan: Plan, known_profiles: Collection[str] | None = None) -> None:
    """Refuse a plan that cannot be run as it is.

    Args:
        plan: As `load_plan` read it.
        known_profiles: The names that ``agent`` may have; None leaves names unchecked.

    Raises:
        PlanError: With every problem: ids that stand twice, needs that name nobody, circles, empty prompts, agents
            that are missing or unknown, and scopes that clash between tasks which may run at the same time.
    """
    graph = Graph(plan)
    problems = [
        *_ids(plan),
        *_needs(plan, graph),
        *map(cycle_problem, graph.cycles()),
        *_prompts(plan),
        *_agents(plan, known_profiles),
        *conflicts(graph, plan.tasks),
    ]
    if problems:
        raise PlanError.of(problems)


def _ids(plan: Plan) -> Iterator[Problem]:
    for task, count in Counter(task.id for task in plan.tasks).items():
        if count > 1:
            places = [f"tasks[{at}]" for at, other in enumerate(plan.tasks) if other.id == task]
            yield Problem(f"task {task}", f"the id stands {count} times: {', '.join(places)}", "give each its own id")


def _needs(plan: Plan, graph: Graph) -> Iterator[Problem]:
    ids = list(graph.place)
    for task in plan.tasks:
        for need in dict.fromkeys(task.needs):
            if need == task.id:
                yield Problem(f"task {task.id}", "needs itself", f"take {need} out of its needs")
            elif need not in graph.place:
                yield Problem(
                    f"task {task.id}", f"needs {shown(need)}, which is no task of this plan", _advice(need, ids)
                )


def _advice(need: str, ids: list[str]) -> str:
    """Return `closest`, but of a long plan not every id."""
    return closest(need, ids) if len(ids) <= NAMED else "name a task of this plan"


def _prompts(plan: Plan) -> Iterator[Problem]:
    for task in plan.tasks:
        if not task.prompt.strip():
            yield Problem(f"task {task.id}", "its prompt is empty", "write what the agent is to do")


def _agents(plan: Plan, known: Collection[str] | None) -> Iterator[Problem]:
    nobody = [task.id for task in plan.tasks if plan.agent_of(task) is None]
    if nobody:
        where = f"tasks {', '.join(nobody[:NAMED])}" + (f" and {len(nobody) - NAMED} more" if nobody[NAMED:] else "")
        yield Problem(where, "no agent is named", "give the plan an agent: a profile's name or {command: [...]}")
    for where, agent in [("agent", plan.agent), *((f"task {task.id}", task.agent) for task in plan.tasks)]:
        name = agent.partition(":")[0] if isinstance(agent, str) else None  # PROFILE:MODEL
        if name is not None and known is not None and name not in known:
            yield Problem(where, f"unknown agent profile {shown(name)}", _profiles(name, sorted(known)))


def _profiles(agent: str, known: list[str]) -> str:
    near = closest(agent, known)
    listed = f"known: {', '.join(known) or 'none'}"
    return near if near == listed else f"{near} ({listed})"
