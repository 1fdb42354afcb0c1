"""Which task comes before which: cycles, an order, waves, what is ready, and what may run at the same time.

Sets of tasks are integers, one bit for each task in the plan's order: ten thousand tasks are 1250 bytes a set, so
that the set of all ancestors of every task is cheap to build and a question about two tasks is one shift.

Tasks that need each other in a circle form a component (Tarjan's algorithm, without recursion); it finds a component
after all that it needs, which is the order in which ancestors are gathered. A correct plan has components of one.
"""

from __future__ import annotations

import heapq
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from coordstore_orchestrator.plan.errors import PlanError, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

__all__ = ["Graph", "PlanLike", "TaskLike", "bits", "cycle_problem", "order", "ready", "waves"]

CIRCLE_SHOWN = 20
"""Tasks of a circle that are written out."""


class TaskLike(Protocol):
    """What this module reads of a task."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def needs(self) -> Sequence[str]:
        """Ids of the tasks before it."""

    @property
    def priority(self) -> int:
        """Higher comes first."""


class PlanLike(Protocol):
    """What this module reads of a plan."""

    @property
    def tasks(self) -> Sequence[TaskLike]:
        """The tasks, in the plan's order."""


def bits(mask: int) -> Iterator[int]:
    """Yield the positions of the bits that are set, lowest first."""
    while mask:
        low = mask & -mask
        yield low.bit_length() - 1
        mask ^= low


class Graph:
    """The dependencies of a plan; needs that name no task count for nothing here (`check_plan` refuses them).

    Args:
        plan: A `Plan`, or anything with ``tasks`` that have ``id``, ``needs`` and ``priority``.
    """

    def __init__(self, plan: PlanLike) -> None:
        self.tasks = plan.tasks
        self.place: dict[str, int] = {}
        for at, task in enumerate(plan.tasks):
            self.place.setdefault(task.id, at)
        self.needs: list[list[int]] = [
            [self.place[need] for need in dict.fromkeys(task.needs) if need in self.place and need != task.id]
            for task in plan.tasks
        ]

    def __repr__(self) -> str:
        """Show its size."""
        return f"<Graph of {len(self.tasks)} tasks, {sum(map(len, self.needs))} needs>"

    @cached_property
    def components(self) -> list[list[int]]:
        """Tasks that need each other in a circle, together; every component after those that it needs."""
        return list(_components(self.needs))

    @cached_property
    def ancestors(self) -> list[int]:
        """For each task the set of those that are complete before it starts."""
        found = [0] * len(self.tasks)
        for component in self.components:
            before = sum(1 << at for at in component) if len(component) > 1 else 0
            for need in {need for at in component for need in self.needs[at]}:
                before |= found[need] | (1 << need)
            for at in component:
                found[at] = before
        return found

    @cached_property
    def descendants(self) -> list[int]:
        """For each task the set of those that wait for it."""
        found = [0] * len(self.tasks)
        for component in reversed(self.components):
            after = sum(1 << at for at in component) if len(component) > 1 else 0
            for at in component:
                after |= found[at]
            for at in component:
                found[at] = after
                for need in self.needs[at]:
                    found[need] |= after | (1 << at)
        return found

    def concurrent(self, at: int) -> int:
        """Return the set of tasks that may run at the same time as the one at this place in the plan."""
        everything = (1 << len(self.tasks)) - 1
        return everything & ~(self.ancestors[at] | self.descendants[at] | (1 << at))

    def may_run_together(self, one: str, two: str) -> bool:
        """Tell whether neither of two tasks waits, directly or through others, for the other."""
        return bool(self.concurrent(self.place[one]) >> self.place[two] & 1)

    def behind(self, ids: Iterable[str]) -> frozenset[str]:
        """Return the tasks that wait, directly or through others, for any of these: what their failure cancels."""
        found = 0
        for task in ids:
            found |= self.descendants[self.place[task]]
        return frozenset(self.tasks[at].id for at in bits(found))

    def cycles(self) -> list[list[str]]:
        """Return one circle of each knot of tasks that need each other: each needs the next, the last the first."""
        found = [self._circle(component) for component in self.components if len(component) > 1]
        return sorted(found, key=lambda circle: self.place[circle[0]])

    def _circle(self, component: Collection[int]) -> list[str]:
        inside, at = frozenset(component), min(component)
        passed: dict[int, None] = {}
        while at not in passed:  # following needs within a component comes back to a task already passed
            passed[at] = None
            at = min(need for need in self.needs[at] if need in inside)
        path = list(passed)
        circle = path[path.index(at) :]
        first = circle.index(min(circle))
        return [self.tasks[at].id for at in circle[first:] + circle[:first]]

    @cached_property
    def _ordered(self) -> list[int]:
        waiting = list(map(len, self.needs))
        dependants: list[list[int]] = [[] for _ in self.tasks]
        for at, needs in enumerate(self.needs):
            for need in needs:
                dependants[need].append(at)
        heap = [(-task.priority, at) for at, task in enumerate(self.tasks) if not waiting[at]]
        heapq.heapify(heap)
        found: list[int] = []
        while heap:
            _, at = heapq.heappop(heap)
            found.append(at)
            for following in dependants[at]:
                waiting[following] -= 1
                if not waiting[following]:
                    heapq.heappush(heap, (-self.tasks[following].priority, following))
        if len(found) < len(self.tasks):
            raise PlanError.of(map(cycle_problem, self.cycles()))
        return found

    def order(self) -> tuple[str, ...]:
        """Return all ids, each after those that it needs; where that leaves a choice by priority, then as planned.

        Raises:
            PlanError: Tasks need each other in a circle.
        """
        return tuple(self.tasks[at].id for at in self._ordered)

    def waves(self) -> tuple[tuple[str, ...], ...]:
        """Return the ids in waves, each of which needs only earlier ones: the fewest steps with endless workers.

        Raises:
            PlanError: Tasks need each other in a circle.
        """
        level = [0] * len(self.tasks)
        found: list[list[str]] = []
        for at in self._ordered:
            level[at] = max((level[need] + 1 for need in self.needs[at]), default=0)
            found.extend([] for _ in range(level[at] + 1 - len(found)))
            found[level[at]].append(self.tasks[at].id)
        return tuple(map(tuple, found))

    def ready(self, done: Collection[str], blocked: Collection[str] = ()) -> tuple[str, ...]:
        """Return the tasks that can start now, the most urgent first: by priority, then as planned.

        Args:
            done: Ids of the tasks that are complete.
            blocked: Ids that are not to be started (again): running, failed, cancelled.
        """
        over, hindered = frozenset(done), frozenset(blocked)
        found = [
            (-task.priority, at)
            for at, task in enumerate(self.tasks)
            if task.id not in over and task.id not in hindered and over.issuperset(task.needs)
        ]
        return tuple(self.tasks[at].id for _, at in sorted(found))


def cycle_problem(circle: Sequence[str]) -> Problem:
    """Return the sentence about tasks that need each other in a circle."""
    tasks = f"tasks {', '.join(circle[:-1])} and {circle[-1]}"
    if len(circle) > CIRCLE_SHOWN:
        tasks = f"{len(circle)} tasks from {circle[0]} to {circle[-1]}"
        circle = [*circle[: CIRCLE_SHOWN // 2], "…", *circle[-CIRCLE_SHOWN // 2 :]]
    chain = " needs ".join([*circle, circle[0]])
    return Problem(tasks, f"need each other in a circle: {chain}", "drop one of these needs")


def order(plan: PlanLike) -> tuple[str, ...]:
    """Return `Graph.order` of a plan."""
    return Graph(plan).order()


def waves(plan: PlanLike) -> tuple[tuple[str, ...], ...]:
    """Return `Graph.waves` of a plan."""
    return Graph(plan).waves()


def ready(plan: PlanLike, done: Collection[str], blocked: Collection[str] = ()) -> tuple[str, ...]:
    """Return `Graph.ready` of a plan."""
    return Graph(plan).ready(done, blocked)


def _components(edges: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    number: dict[int, int] = {}
    lowest: dict[int, int] = {}
    stack: list[int] = []
    on_stack: set[int] = set()
    for root in range(len(edges)):
        walk = [(root, iter(edges[root]))] if root not in number else []
        while walk:
            at, following = walk[-1]
            if at not in number:
                number[at] = lowest[at] = len(number)
                stack.append(at)
                on_stack.add(at)
            for to in following:
                if to not in number:
                    walk.append((to, iter(edges[to])))
                    break
                if to in on_stack:
                    lowest[at] = min(lowest[at], number[to])
            else:
                walk.pop()
                if walk:
                    lowest[walk[-1][0]] = min(lowest[walk[-1][0]], lowest[at])
                if lowest[at] == number[at]:
                    split = stack.index(at) if stack[-1] != at else len(stack) - 1
                    yield stack[split:]
                    on_stack.difference_update(stack[split:])
                    del stack[split:]
