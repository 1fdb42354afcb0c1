"""Kill -9 at every system call with which any operation of a store changes a file.

A trial is one life that does everything a store can be asked to, killed before one call; then the store is opened.
Every call of an undisturbed life is one trial, first at ``durability=full``, then at ``process``; with fewer trials
than that, so many of them.
"""

from __future__ import annotations

import asyncio
import random
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.faults.aftermath import aftermath
from tests.faults.campaign import Campaign, Outcome
from tests.faults.stage import BACKENDS, folder, url_in
from tests.faults.tracing import calls, traced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.tracing import Call

AT_ONCE: Final = 3


def killed(backend: str, plant: str, point: tuple[Call, str]) -> str | None:
    """Kill a life before a call; return what is wrong, None when it made fewer calls this time and lived on."""
    call, durability = point
    with folder() as where:
        kill = f"inject={call.name}:signal=KILL:when={call.number}"
        trial = traced(backend, where, "-e", kill, durability=durability, plant=plant)
        wrong = asyncio.run(aftermath(url_in(backend, where, f"?durability={durability}"), trial))
    odd = {word for word in trial.outcomes.values() if word != "ok"}
    if odd:
        wrong.append(f"deeds that nothing stood in the way of: {odd}")
    if not wrong and trial.closed:
        return None
    return f"killed at {call.name} {call.number} ({durability}): {'; '.join(wrong)}" if wrong else ""


def on(backend: str, trials: int, seed: int, plant: str = "") -> Outcome:
    """Kill at so many calls on a backend."""
    points = [(call, durability) for durability in ("full", "process") for call in changing(backend, durability)]
    if trials < len(points):
        points = random.Random(seed).sample(points, trials)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [each for each in pool.map(partial(killed, backend, plant), points) if each is not None]
    note = f"{len(points)} calls of {len({call.name for call, _ in points})} kinds"
    return Outcome(backend, len(found), tuple(filter(None, found)), note)


def changing(backend: str, durability: str) -> list[Call]:
    """Return the calls of a life that change something."""
    with folder() as where:
        return [call for call in calls(backend, where, durability) if call.changes]


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Kill at so many calls, or at every one, on each backend."""
    for backend in BACKENDS:
        yield on(backend, trials, seed)


CAMPAIGN = Campaign(
    "kill_syscalls",
    "Killed before any call that changes a file, a store opens, holds what it acknowledged, and works on.",
    run,
    full=5_000,
    part=12,
    needs=("linux", "strace"),
)
