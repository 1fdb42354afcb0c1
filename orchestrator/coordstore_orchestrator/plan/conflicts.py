"""Tasks that may run at the same time and touch the same files: found on patterns, before any file exists.

Tasks are bits (see `graph`). For every pattern the index tells which patterns of others meet it, their tasks make
one set, and that set cut with the tasks that may run at the same time is the answer for all pairs at once. Only the
pairs that are named in the refusal are looked at one by one.
"""

from __future__ import annotations

from itertools import chain, islice
from typing import TYPE_CHECKING

from coordstore_orchestrator.plan.bounds import CLASHES_LISTED
from coordstore_orchestrator.plan.errors import Problem, shown
from coordstore_orchestrator.plan.graph import bits
from coordstore_orchestrator.plan.index import PatternIndex
from coordstore_orchestrator.plan.pattern import Pattern, Step
from coordstore_orchestrator.plan.scope import Scope, clash

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from coordstore_orchestrator.plan.graph import Graph
    from coordstore_orchestrator.plan.model import Task

__all__ = ["conflicts"]

_NAMED = 5


class _Writers:
    """Who writes what, to be asked who writes where a pattern reaches."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._by_steps: dict[tuple[Step, ...], int] = {}
        self.wide = 0  # tasks that may write everywhere
        for at, task in enumerate(tasks):
            for pattern in map(Pattern.parse, task.writes):
                self._by_steps[pattern.steps] = self._by_steps.get(pattern.steps, 0) | (1 << at)
                self.wide |= (1 << at) if pattern.whole else 0
        self._index = PatternIndex((steps, steps) for steps in self._by_steps)
        self._known: dict[tuple[Step, ...], int] = {}

    def within(self, patterns: Sequence[str]) -> int:
        """Return the set of tasks that may write a file which is in one of these patterns."""
        found = 0
        for text in patterns:
            steps = Pattern.parse(text).steps
            if steps not in self._known:
                self._known[steps] = self._gathered(steps)
            found |= self._known[steps]
        return found

    def _gathered(self, steps: tuple[Step, ...]) -> int:
        found = 0
        for other in self._index.meeting(steps):
            found |= self._by_steps[other]
        return found


def conflicts(graph: Graph, tasks: Sequence[Task]) -> Iterator[Problem]:
    """Yield what is wrong between tasks neither of which waits for the other.

    Args:
        graph: The plan's dependencies.
        tasks: The plan's tasks.
    """
    writers = _Writers(tasks)
    same: dict[str, int] = {}  # an id that stands twice is told elsewhere
    for at, task in enumerate(tasks):
        same[task.id] = same.get(task.id, 0) | (1 << at)
    found = 0
    for at, task in enumerate(tasks):
        beside = graph.concurrent(at) & ~same[task.id]
        if not beside:
            continue
        writes = writers.within(task.writes) & beside
        reads = writers.within(task.reads) & beside & ~writes
        wide = bool(writers.wide >> at & 1 and writes)
        later = 0 if wide else writes & ~writers.wide & ~((2 << at) - 1)  # each pair once
        told = chain(
            (_wide(tasks, at, writes) for _ in range(wide)),
            (_both_write(task, tasks[other]) for other in bits(later)),
            (_unordered_read(task, tasks[other]) for other in bits(reads)),
        )
        yield from islice(told, CLASHES_LISTED - found)
        found += wide + later.bit_count() + reads.bit_count()
        if found > CLASHES_LISTED:
            more = f"at least {found - CLASHES_LISTED} more clashes of this kind"
            yield Problem("tasks", more, "narrow the scopes, or let tasks need each other")
            return


def _wide(tasks: Sequence[Task], at: int, others: int) -> Problem:
    names = ", ".join(tasks[other].id for other in islice(bits(others), _NAMED))
    more = f" and {others.bit_count() - _NAMED} more" if others.bit_count() > _NAMED else ""
    pattern = next(text for text in tasks[at].writes if Pattern.parse(text).whole)
    what = f"may write everywhere ({shown(pattern)}) while others write at the same time: {names}{more}"
    fix = "name the folders that it changes, or let it need the others or they it"
    return Problem(f"task {tasks[at].id}", what, fix)


def _both_write(one: Task, two: Task) -> Problem:
    found = clash(Scope.parse(one.writes), Scope.parse(two.writes))
    what = "may run at the same time and write the same files"
    if found is not None:
        what = (
            f"may run at the same time and both write {shown(found.path)}: "
            f"{one.id} by {shown(found.one)}, {two.id} by {shown(found.two)}"
        )
    fix = f"let {two.id} need {one.id} (needs: [{one.id}]), or give each its own files"
    return Problem(f"tasks {one.id} and {two.id}", what, fix)


def _unordered_read(reader: Task, writer: Task) -> Problem:
    found = clash(Scope.parse(reader.reads), Scope.parse(writer.writes))
    what = "one reads what the other may write at the same time"
    if found is not None:
        what = (
            f"{reader.id} reads {shown(found.path)} (by {shown(found.one)}), "
            f"which {writer.id} may write at the same time (by {shown(found.two)})"
        )
    fix = f"let {reader.id} need {writer.id} (needs: [{writer.id}]), or narrow what it reads"
    return Problem(f"tasks {reader.id} and {writer.id}", what, fix)
