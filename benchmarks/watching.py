"""Watching from another process: how soon a change arrives there, and what waiting costs."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.stores import BUILD, NAMES, SCHEMES, cpu_seconds, forked, opened
from benchmarks.table import Row, median

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["measure"]

PUTS: Final = 150
PAUSE: Final = 0.03
"""Seconds between two puts: the watcher is idle when the next one comes."""
IDLE: Final = 6.0
LATENCY_GOAL: Final = 2.0
"""Milliseconds."""
CPU_GOAL: Final = 1.0
"""Percent of one processor."""
END: Final = b"end"


def measure(scale: float = 1.0) -> list[Row]:
    """Measure both on each store."""
    rows = []
    for scheme in SCHEMES:
        with tempfile.TemporaryDirectory(dir=BUILD) as name:
            rows += [_delivery(scheme, Path(name), scale), _idle(scheme, Path(name), scale)]
    return rows


def _delivery(scheme: str, folder: Path, scale: float) -> Row:
    puts = max(round(PUTS * scale), 3)
    arrived, written = (json.loads(told) for told in forked(2, partial(_watcher_or_writer, scheme, folder, puts)))
    pairs = [(written[value], when) for value, when in arrived.items()]
    delays = sorted(max(when - acknowledged, 0) / 1e6 for (_, acknowledged), when in pairs)
    whole = median([(when - called) / 1e6 for (called, _), when in pairs])
    middle, slow = median(delays), delays[len(delays) * 9 // 10]
    figure = f"{middle:.2f} ms after the put's return (p90 {slow:.2f} ms), {whole:.2f} ms after its call"
    claim = f"watch, delivery to another process: {NAMES[scheme]}"
    return Row(claim, f"p50 ≤ {LATENCY_GOAL:g} ms", figure, middle <= LATENCY_GOAL)


async def _watcher_or_writer(scheme: str, folder: Path, puts: int, number: int) -> str:
    async with opened(scheme, folder) as store:
        return json.dumps(await (_write(store, puts) if number else _watch(store)))


async def _write(store: CoordStore, puts: int) -> dict[str, tuple[int, int]]:
    """Put so many values; return when each put was called and when it returned."""
    while await store.get("watching") is None:
        await asyncio.sleep(PAUSE)
    written = {}
    for number in range(puts):
        await asyncio.sleep(PAUSE)
        called = time.monotonic_ns()
        await store.put("watched/key", b"%d" % number)
        written[str(number)] = (called, time.monotonic_ns())
    await store.put("watched/key", END)
    return written


async def _watch(store: CoordStore) -> dict[str, int]:
    """Return when each value arrived."""
    arrived: dict[str, int] = {}
    async for batch in store.watch("watched"):
        now = time.monotonic_ns()
        if batch.reset:
            await store.put("watching", b"")
        values = [change.entry.value for change in batch.changes if change.entry]
        if END in values:
            break
        arrived |= {value.decode(): now for value in values}
    return arrived


def _idle(scheme: str, folder: Path, scale: float) -> Row:
    (told,) = forked(1, partial(_waiter, scheme, folder, IDLE * scale))
    percent = float(told)
    claim = f"watch, an idle watcher's processor time: {NAMES[scheme]}"
    return Row(claim, f"< {CPU_GOAL:g} %", f"{percent:.2f} % over {IDLE * scale:g} s", percent < CPU_GOAL)


async def _waiter(scheme: str, folder: Path, seconds: float, _: int) -> str:
    async with opened(scheme, folder) as store:
        watch = store.watch("watched")
        await anext(watch)
        waiting = asyncio.ensure_future(anext(watch))
        # The polls grow rare within the first second.
        await asyncio.sleep(seconds / 4)
        before, began = cpu_seconds(), time.monotonic()
        await asyncio.sleep(seconds)
        percent = (cpu_seconds() - before) / (time.monotonic() - began) * 100
        waiting.cancel()
        await asyncio.wait((waiting,))
        return str(percent)
