"""What an operation costs in an empty store and in a large one, and how much memory a reader of the large one takes."""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.stores import BUILD, NAMES, SCHEMES, forked, opened
from benchmarks.table import Row, median
from coordstore.model import Put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordstore.store import CoordStore

    Operation = Callable[[CoordStore, int], Awaitable[object]]

__all__ = ["measure"]

STREAMS: Final = 100
EVENTS: Final = 1_000_000
KEYS: Final = 10_000
BATCH: Final = 64
"""Writes or records in one transaction, the most that is allowed."""
READ: Final = 100
PROCESSES: Final = 20
"""One after the other: in one process the threads of one of two stores may lie badly on the processors all the time,
so that one and the same operation costs there from half to twice as much as on the other one."""
ROUNDS: Final = 3
TIMES: Final = 40
GOAL: Final = 1.5
MEMORY_GOAL: Final = 64
"""MiB that a reader of the large store may take above what it took when it had opened the small one."""


def measure(scale: float = 1.0) -> list[Row]:
    """Fill a store of each kind, then compare it with one that is nearly empty."""
    rows = []
    for scheme in SCHEMES:
        with tempfile.TemporaryDirectory(dir=BUILD) as name:
            rows += _grown(scheme, Path(name), scale)
    return rows


def _grown(scheme: str, folder: Path, scale: float) -> list[Row]:
    small, large = folder / "small", folder / "large"
    for place in (small, large):
        place.mkdir(mode=0o700)
    events = max(round(EVENTS * scale / STREAMS), READ)
    keys = max(round(KEYS * scale), STREAMS)
    # One by one, as an agent appends; what is large would take too long that way, and does not remember it.
    forked(1, partial(_fill, scheme, small, (1, READ, 1), 1))
    (took,) = forked(1, partial(_fill, scheme, large, (STREAMS, events, keys), BATCH))
    os.sync()  # what the filling left to be written would be in the way
    processes = max(round(PROCESSES * scale), 1)
    told = [forked(1, partial(_compare, scheme, small, large, events, scale))[0] for _ in range(processes)]
    found: list[dict[str, float]] = [json.loads(each) for each in told]
    ratios = {name: median([each[name] for each in found]) for name in found[0]}
    figure = ", ".join(f"{name} {ratio:.2f}×" for name, ratio in ratios.items())
    claim = f"cost at {STREAMS * events:,} events and {keys:,} keys: {NAMES[scheme]}"
    rows = [Row(claim, f"≤ {GOAL}× empty store", figure, max(ratios.values()) <= GOAL)]
    return [*rows, _memory(scheme, small, large, float(took))]


async def _fill(scheme: str, place: Path, sizes: tuple[int, int, int], batch: int, _: int) -> str:
    streams, events, keys = sizes
    began = time.perf_counter()
    async with opened(scheme, place, "process") as store:
        for at in range(0, keys, BATCH):
            writes = [Put(f"keys/k{number}", b"%064d" % number) for number in range(at, min(at + BATCH, keys))]
            await store.transact(writes=writes)

        async def fill(stream: int) -> None:
            for at in range(0, events, batch):
                records = [_event(number) for number in range(at, min(at + batch, events))]
                await store.append(f"events/s{stream}", records)

        for first in range(0, streams, 10):
            await asyncio.gather(*(fill(stream) for stream in range(first, min(first + 10, streams))))
    return str(time.perf_counter() - began)


def _event(number: int) -> bytes:
    return b'{"type":"step","n":%d,"text":"what an agent says"}' % number


# --- cost ---------------------------------------------------------------------------------------------------


async def _compare(scheme: str, small: Path, large: Path, events: int, scale: float, _: int) -> str:
    chosen = random.Random(7)
    operations: dict[str, tuple[Operation, Operation]] = {
        "get": (
            lambda store, _: store.get("keys/k0"),
            lambda store, _: store.get(f"keys/k{chosen.randrange(STREAMS)}"),
        ),
        "put": (
            lambda store, n: store.put("keys/k0", b"%064d" % n),
            lambda store, n: store.put(f"keys/k{chosen.randrange(STREAMS)}", b"%064d" % n),
        ),
        "append": (
            lambda store, n: store.append("events/s0", [_event(n)]),
            lambda store, n: store.append(f"events/s{chosen.randrange(STREAMS)}", [_event(n)]),
        ),
        "read": (
            lambda store, _: store.read("events/s0", limit=READ),
            lambda store, _: store.read(
                f"events/s{chosen.randrange(STREAMS)}", after=chosen.randrange(events - READ + 1), limit=READ
            ),
        ),
    }
    # Each commit tells nothing but its own cost where no sync hides it.
    async with opened(scheme, small, "process") as empty, opened(scheme, large, "process") as full:
        found = {name: await _ratio(empty, full, *pair, scale) for name, pair in operations.items()}
    return json.dumps(found)


async def _ratio(empty: CoordStore, full: CoordStore, of_empty: Operation, of_full: Operation, scale: float) -> float:
    """Return the ratio of the medians, taken in turn."""
    took: tuple[list[float], list[float]] = [], []
    for _ in range(max(round(ROUNDS * scale), 1)):
        for store, operation, found in ((empty, of_empty, took[0]), (full, of_full, took[1])):
            for number in range(max(round(TIMES * scale), 3)):
                began = time.perf_counter()
                await operation(store, number)
                found.append(time.perf_counter() - began)
    return median(took[1]) / median(took[0])


# --- memory -------------------------------------------------------------------------------------------------


def _memory(scheme: str, small: Path, large: Path, took: float) -> Row:
    (of_small,), (of_large,) = (forked(1, partial(_reader, scheme, place)) for place in (small, large))
    before, (seen, peak, seconds) = float(of_small.split()[1]), map(float, of_large.split())
    figure = (
        f"{peak:.0f} MiB, {before:.0f} MiB on a small store ({seen / seconds:,.0f} events/s; filled in {took:.0f} s)"
    )
    claim = f"memory of a reader that follows {seen:,.0f} events: {NAMES[scheme]}"
    return Row(claim, f"≤ {MEMORY_GOAL} MiB above a small store's", figure, peak - before <= MEMORY_GOAL)


async def _reader(scheme: str, place: Path, _: int) -> str:
    """Follow everything there is now; return how many events, the peak of memory in MiB, and the seconds."""
    began, seen = time.perf_counter(), 0
    async with opened(scheme, place, "process") as store:
        left = sum((await store.heads("events")).values())
        async for _record in store.follow("events"):
            seen += 1
            if seen == left:
                break
        peak = _peak()
    return f"{seen} {peak} {time.perf_counter() - began}"


def _peak() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1024 / (1024 if sys.platform == "darwin" else 1)
