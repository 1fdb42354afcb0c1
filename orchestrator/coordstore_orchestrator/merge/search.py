"""Finds who breaks a validation, in few validations.

The tasks stand in merge order, each after what it needs. A set of them *fails* when it holds a culprit: one task, or
some that fail only together. Then every set that holds a failing one fails, and the shortest beginning of the order
that fails ends with a member of a culprit:

    whole fails ── halving ──> the beginning up to x fails, the one before passes
    x with its needs alone fails                      ──> x is the culprit
    x alone passes ── halving over what is before x ──> the shortest beginning that fails with x ends with its partner
    leave the culprit out, with all that needs it     ──> the rest passes: done; it fails: once more, beyond x

Whether the culprit is complete and whether the rest passes is asked at the same time. So f culprits among n tasks
take at most f·⌈log2 n⌉ + 2f + 1 validations, each member of a group counted, and what is kept has passed as it is.

A tree in which much is missing may fail for that alone: then the base fails, halving says nothing, and each task is
left out in turn instead, the latest first.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Mapping, Sequence

__all__ = ["Culprit", "Failure", "Findings", "Probe", "Search"]

Tasks = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a set of tasks failed.

    Args:
        text: In words.
        log: Where all of the output is, or None.
    """

    text: str
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Culprit:
    """What is left out.

    Args:
        tasks: One task, or those that fail only together, in merge order.
        failure: How it fails.
    """

    tasks: Tasks
    failure: Failure


@dataclass(frozen=True, slots=True)
class Findings:
    """What came of a search.

    Args:
        kept: What passed together; empty: nothing did.
        culprits: What is left out, in the order in which it was found.
        hopeless: It fails whichever one task is left out, and without any: no culprit is named; this is the failure.
    """

    kept: Tasks
    culprits: tuple[Culprit, ...] = ()
    hopeless: Failure | None = None


class Probe(Protocol):
    """Validates some tasks merged together, several calls at a time."""

    async def __call__(self, tasks: Tasks, /) -> Failure | None:
        """Return how they fail, or None."""


class Search:
    """One search for culprits.

    Args:
        order: The tasks in merge order; needs come before what needs them.
        needs: What each task needs directly.
        probe: Validates a set.
        width: How many sets to validate at a time where any number may be.
    """

    def __init__(self, order: Sequence[str], needs: Mapping[str, Iterable[str]], probe: Probe, width: int = 1) -> None:
        self._order = tuple(order)
        self._needs = {task: set(needs.get(task, ())).intersection(order) for task in order}
        self._probe = probe
        self._width = max(width, 1)
        self._known: dict[Tasks, Failure | None] = {(): None}
        self._base_seen = False

    async def run(self) -> Findings:
        """Return what can land.

        Cancelled: validations under way are cancelled and waited for.
        """
        kept, good, culprits = self._order, 0, list[Culprit]()
        failure = await self._fails(kept)
        while failure is not None:
            first = await self._shortest(kept, (), good, len(kept))
            if first == 1 and good == 0 and not self._base_seen:
                self._base_seen = True
                if await self._probe(()) is not None:
                    return await self._without_one(kept, failure)
            culprit, rest, failure = await self._complete(kept, first)
            culprits.append(culprit)
            good = len([task for task in kept[: first - 1] if task in rest])
            kept = rest
        return Findings(kept, tuple(culprits))

    async def _complete(self, kept: Tasks, first: int) -> tuple[Culprit, Tasks, Failure | None]:
        """Find all members of the culprit whose last member is known; return it, the rest, and how that fails."""
        members, end = [kept[first - 1]], first - 1
        while True:
            rest = self._without(kept, members)
            alone, left = await _both(self._fails(self._with_needs(members)), self._fails(rest))
            if alone is not None or end < 1:
                failure = alone or self._known[kept[:first]] or Failure("")
                return Culprit(tuple(task for task in kept if task in members), failure), rest, left
            end = await self._shortest(kept, members, 0, end) - 1
            members.append(kept[end])

    async def _shortest(self, kept: Tasks, members: Iterable[str], passes: int, fails: int) -> int:
        """Return the length of the shortest beginning that fails together with some members."""
        while fails - passes > 1:
            middle = (passes + fails) // 2
            if await self._fails(self._with_needs([*kept[:middle], *members])) is None:
                passes = middle
            else:
                fails = middle
        return fails

    async def _without_one(self, kept: Tasks, failure: Failure) -> Findings:
        """Leave out each task in turn, the latest first, so many at a time."""
        tries = list(reversed(kept))
        for at in range(0, len(tries), self._width):
            batch = [(task, self._without(kept, [task])) for task in tries[at : at + self._width]]
            found = await _all([self._fails(rest) for _, rest in batch])
            for (task, rest), failed in zip(batch, found, strict=True):
                if rest and failed is None:
                    return Findings(rest, (Culprit((task,), failure),))
        return Findings((), (), failure)

    async def _fails(self, tasks: Tasks) -> Failure | None:
        """Validate a set, once; nothing at all needs none."""
        if tasks not in self._known:
            self._known[tasks] = await self._probe(tasks)
        return self._known[tasks]

    def _with_needs(self, tasks: Iterable[str]) -> Tasks:
        wanted, waiting = set[str](), list(tasks)
        while waiting:
            task = waiting.pop()
            if task not in wanted:
                wanted.add(task)
                waiting.extend(self._needs[task])
        return tuple(task for task in self._order if task in wanted)

    def _without(self, kept: Tasks, members: Iterable[str]) -> Tasks:
        """Return what is left without some tasks and all that needs them."""
        gone = set(members)
        for task in kept:
            if not gone.isdisjoint(self._needs[task]):
                gone.add(task)
        return tuple(task for task in kept if task not in gone)


async def _both(
    one: Coroutine[None, None, Failure | None], two: Coroutine[None, None, Failure | None]
) -> tuple[Failure | None, Failure | None]:
    first, second = await _all([one, two])
    return first, second


async def _all(runs: Sequence[Coroutine[None, None, Failure | None]]) -> list[Failure | None]:
    """Run some validations at once; when one raises, the others are cancelled and waited for."""
    started = [asyncio.ensure_future(run) for run in runs]
    try:
        return await asyncio.gather(*started)
    finally:
        for task in started:
            task.cancel()
        await asyncio.gather(*started, return_exceptions=True)
