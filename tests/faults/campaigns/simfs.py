"""The File backend on a simulated file system: the power goes at every call, and every call fails."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.campaign import Campaign, Outcome
from tests.faults.crash.pool import shared
from tests.faults.crash.record import scratch
from tests.faults.crash.simulate import Failing, Simulation, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FEW = 1_000
PER_SEED = 600
"""States of one workload, at most."""
FAULTS_PER_SEED = 60
SHARE = 20
"""One failing call is tried for so many states."""


def cut(job: tuple[int, int]) -> Tally:
    """Cut the power of one workload."""
    seed, most = job
    with scratch() as folder:
        return Simulation(folder, seed).cut(most)


def failing(job: tuple[int, int]) -> Tally:
    """Let the calls of one workload fail."""
    seed, most = job
    with scratch() as folder:
        return Failing(folder, seed).run(most)


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Judge so many states, then a share of that with failing calls."""
    yield outcome("file", cut, trials, PER_SEED, seed)
    yield outcome("file, failing calls", failing, max(trials // SHARE, 1), FAULTS_PER_SEED, seed)


def outcome(name: str, work: Callable[[tuple[int, int]], Tally], trials: int, per_seed: int, seed: int) -> Outcome:
    """Share so many trials out over seeds."""
    share = min(per_seed, max(trials // 3, 1))
    seeds = range(seed, seed + -(-trials // share))
    tallies = list(shared(work, [(each, share) for each in seeds], alone=trials <= FEW))
    wrong = tuple(problem for tally in tallies for problem in tally.wrong)
    return Outcome(name, sum(tally.states for tally in tallies), wrong, f"{len(seeds)} workloads")


CAMPAIGN = Campaign(
    "simfs",
    "Whatever a disk keeps of what was not forced, and whichever call fails, the store is as its callers were told.",
    run,
    full=30_000,
    part=450,
)
