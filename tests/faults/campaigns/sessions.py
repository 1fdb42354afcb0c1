"""Whole sessions on virtual time, with misfortunes by a seed, keep every rule of orchestrator and workers."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tests.faults.campaign import Campaign, Outcome
from tests.orchestrator.scripted import WRONG
from tests.orchestrator.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CAMPAIGN"]

FAILURES_MAX: Final = 20
"""Seeds that fail are told up to this number; then the rest is not worth its time."""


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Simulate so many sessions, every fourth of them a calm one."""
    failures: list[str] = []
    done = revisions = agents = wrong = cut = 0
    was = logging.root.manager.disable
    logging.disable(logging.CRITICAL)  # lost leases are their business
    try:
        for number in range(seed, seed + trials):
            done += 1
            try:
                world = asyncio.run(simulate(number, faults=number % 4 != 0))
            except AssertionError as error:
                failures.append(f"{error} ({'; '.join(error.__notes__)})")
                if len(failures) >= FAILURES_MAX:
                    break
            else:
                revisions += world.memory.state.revision
                agents += sum(len(task.attempts) for task in world.view().tasks.values())
                wrong += sum(kind in WRONG for kind in world.kinds.values())
                cut += world.seen["cut off for longer than a lease"]
    finally:
        logging.disable(was)
    seen = f"{agents:,} attempts, {wrong:,} went wrong, {cut:,} partitions, {revisions:,} revisions"
    yield Outcome("memory", done, tuple(failures), seen)


CAMPAIGN = Campaign(
    name="sessions",
    promise="Every task ends in one final state and lands once, whoever crashes, is cut off, loops, is silent or lies.",
    run=run,
    full=10_000,
    part=500,
)
