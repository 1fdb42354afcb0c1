"""Every legal state of the disk after a power cut, by replaying recorded system calls, opens and is right."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from tests.faults.campaign import Campaign, Outcome
from tests.faults.crash.pool import shared
from tests.faults.crash.record import Taped, record, replay
from tests.faults.crash.scenarios import BOTH, scenarios

if TYPE_CHECKING:
    from collections.abc import Iterator

FEW = 200
"""States up to which only some scenarios are recorded, chosen by the seed."""
PER_SCENARIO = 25


class Job(NamedTuple):
    """A recording to replay."""

    taped: Taped
    most: int
    seed: int


def taped(asked: tuple[str, str]) -> Taped:
    """Record a scenario of a backend."""
    scheme, name = asked
    return record(scheme, next(each for each in scenarios(scheme) if each.name == name))


def replayed(job: Job) -> tuple[int, list[str]]:
    """Replay a recording."""
    return replay(job.taped, job.most, job.seed)


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Record scenarios and judge so many distinct states of each backend."""
    few = trials <= FEW
    for scheme in BOTH:
        names = [scenario.name for scenario in scenarios(scheme)]
        if few:
            names = random.Random(seed).sample(names, max(trials // PER_SCENARIO, 1))
        tapes = list(shared(taped, [(scheme, name) for name in names], alone=few))
        tapes.sort(key=lambda tape: len(tape.recording.events))
        found = shares(tapes, trials, seed, alone=few)
        states = sum(count for count, _ in found)
        wrong = [f"seed {seed}, {problem}" for _, problems in found for problem in problems]
        yield Outcome(scheme, states, tuple(wrong), f"{len(tapes)} scenarios, all states distinct")


def shares(tapes: list[Taped], trials: int, seed: int, *, alone: bool) -> list[tuple[int, list[str]]]:
    """Replay recordings; what short ones leave of their share goes to the longer ones, in a second round."""
    share = -(-trials // len(tapes))
    found = list(shared(replayed, [Job(tape, share, seed) for tape in tapes], alone=alone))
    left = trials - sum(count for count, _ in found)
    longer = [number for number, (count, _) in enumerate(found) if count == share]
    if left > 0 and longer:
        more = share - (-left // len(longer))
        again = shared(replayed, [Job(tapes[number], more, seed) for number in longer], alone=alone)
        for number, result in zip(longer, again, strict=True):
            found[number] = result
    return found


CAMPAIGN = Campaign(
    "crash_states",
    "After a power cut at any system call, with any of the unforced writes lost, the store opens as it was promised.",
    run,
    full=7_500,
    part=75,
    needs=("linux", "strace"),
)
