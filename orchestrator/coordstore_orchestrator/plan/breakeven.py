"""Whether several agents pay: what a plan takes with many and with one, at the overheads that were measured.

Of N tasks of the same length, many agents save up to (N-1) times that length; what they cost is a worktree and a start
for each, the merges, which come one after the other, and work that conflicts. One agent starts once and merges once.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.plan.graph import Graph

if TYPE_CHECKING:
    from coordstore_orchestrator.plan.model import Plan

__all__ = ["Estimate", "Overheads", "estimate", "probed"]

ENOUGH: Final = 5
"""Finished attempts from which on a measurement is advice; below it is a guess, which nobody follows."""
SECONDS_PER_FILE: Final = 0.00004
"""What a checkout takes for each file."""


@dataclass(frozen=True, slots=True)
class Overheads:
    """What work takes on this store and repository; seconds and US dollars, each on average.

    Args:
        task: That its agent runs.
        start: What an attempt takes beside that: worktree, spawn, commit, a look at what was done.
        merge: From its end, or from the merge before where that comes later, to the merged tree.
        conflicts: Share of the attempts whose work could not be merged, or failed.
        cost: Of an attempt, in US dollars.
        measured: How many attempts that is taken from; 0: these are guesses.
    """

    task: float = 300.0
    start: float = 1.0
    merge: float = 1.0
    conflicts: float = 0.05
    cost: float = 0.0
    measured: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a plan is expected to take.

    Args:
        sequential: Seconds with one agent.
        parallel: Seconds with as many as may run at a time.
        sequential_cost: US dollars with one agent.
        parallel_cost: US dollars with many: what conflicts is paid twice.
        overheads: What it was computed from.
    """

    sequential: float
    parallel: float
    sequential_cost: float
    parallel_cost: float
    overheads: Overheads

    @property
    def measured(self) -> bool:
        """Whether enough was measured to follow it."""
        return self.overheads.measured >= ENOUGH

    @property
    def one_is_better(self) -> bool:
        """Whether one agent is expected to be done no later than many."""
        return self.sequential <= self.parallel

    def __str__(self) -> str:
        """Say it in two lines."""
        basis = f"measured on {self.overheads.measured} attempts" if self.measured else "guessed: little was measured"
        many = f"many agents: about {_seconds(self.parallel)}{_dollars(self.parallel_cost)}"
        one = f"one agent: about {_seconds(self.sequential)}{_dollars(self.sequential_cost)}"
        better = "one agent is better" if self.one_is_better else "many are better"
        return f"{many}; {one} ({basis})\n{better}"


def probed(overheads: Overheads, files: int) -> Overheads:
    """Return overheads for a repository of so many files, where nothing was measured there yet."""
    if overheads.measured:
        return overheads
    return Overheads(start=overheads.start + files * SECONDS_PER_FILE)


def estimate(plan: Plan, overheads: Overheads, slots: int) -> Estimate:
    """Return what a plan takes with one agent and with so many.

    Args:
        plan: As `check_plan` accepts it.
        overheads: What work takes.
        slots: How many agents run at a time.
    """
    count, each = len(plan.tasks), overheads
    again = each.conflicts if count > 1 else 0.0  # one agent conflicts with nobody
    length = each.start + each.task * (1 + again)
    return Estimate(
        sequential=each.start + count * each.task + each.merge,
        parallel=_makespan(plan, length, each.merge, slots),
        sequential_cost=count * each.cost,
        parallel_cost=count * each.cost * (1 + again),
        overheads=overheads,
    )


def _makespan(plan: Plan, length: float, merge: float, slots: int) -> float:
    """Return when all is merged: tasks start in the plan's order, as slots and needs allow; merges go one by one."""
    free = [0.0] * slots
    merged_at: dict[str, float] = {}
    merger = 0.0
    tasks = {task.id: task for task in plan.tasks}
    for name in Graph(plan).order():
        ready = max((merged_at[need] for need in tasks[name].needs), default=0.0)
        ended = max(heapq.heappop(free), ready) + length
        heapq.heappush(free, ended)
        merger = max(merger, ended) + merge
        merged_at[name] = merger
    return max(merged_at.values(), default=0.0)


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f} s" if seconds < 120 else f"{seconds / 60:.0f} min"  # noqa: PLR2004  (two minutes)


def _dollars(cost: float) -> str:
    return f", ${cost:.2f}" if cost else ""
