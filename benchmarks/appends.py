"""Durable appends: one writer against a raw write+fdatasync loop, many callers and many processes against one."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Final

from benchmarks.stores import BUILD, NAMES, RECORD, SCHEMES, appends_in, forked, mean_append, opened
from benchmarks.table import Row, median

__all__ = ["measure"]

ROUNDS: Final = 15
TIMES: Final = 60
"""Appends of one kind before the other ones have their turn."""
SLOW: Final = 0.0005
"""Seconds of a raw sync from which on the ratio counts; a faster disk would measure the interpreter only."""
SHARE: Final = 0.7
CALLERS: Final = 64
CALLERS_GOAL: Final = 8
PROCESSES_GOAL: Final = 1
PATIENCE: Final = 60
"""Seconds in which all processes begin."""


def measure(scale: float = 1.0) -> list[Row]:
    """Measure all three, in that order."""
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        return [
            *asyncio.run(_one_writer(folder, scale)),
            *asyncio.run(_callers(folder, scale)),
            *(_processes(scheme, folder, scale) for scheme in SCHEMES),
        ]


def raw_appends(handle: int, times: int) -> list[float]:
    """Write and sync a record so many times; return the seconds that each took."""
    took, at = [], os.fstat(handle).st_size
    for _ in range(times):
        began = time.perf_counter()
        at += os.pwrite(handle, RECORD, at)
        os.fdatasync(handle)
        took.append(time.perf_counter() - began)
    return took


async def _one_writer(folder: Path, scale: float) -> list[Row]:
    rounds, times = max(round(ROUNDS * scale), 1), max(round(TIMES * scale), 2)
    handle = os.open(folder / "raw", os.O_RDWR | os.O_CREAT)
    took: dict[str, list[float]] = {"raw": [], **{scheme: [] for scheme in SCHEMES}}
    try:
        async with AsyncExitStack() as stack:
            stores = {scheme: await stack.enter_async_context(opened(scheme, folder)) for scheme in SCHEMES}
            for _ in range(rounds):
                took["raw"] += await asyncio.to_thread(raw_appends, handle, times)
                for scheme, store in stores.items():
                    took[scheme] += await mean_append(store, times)
    finally:
        os.close(handle)
    raw = median(took["raw"])
    return [_row_of_one(scheme, median(took[scheme]), raw) for scheme in SCHEMES]


def _row_of_one(scheme: str, ours: float, raw: float) -> Row:
    claim = f"durable append, one writer: {NAMES[scheme]}"
    told = f"{ours * 1e6:.0f} µs against {raw * 1e6:.0f} µs"
    if raw < SLOW:
        return Row(
            claim, f"≥ {SHARE}× raw loop from {SLOW * 1e6:.0f} µs on", f"+{(ours - raw) * 1e6:.0f} µs ({told})", None
        )
    return Row(claim, f"≥ {SHARE}× raw write+fdatasync", f"{raw / ours:.2f}× ({told})", raw / ours >= SHARE)


async def _callers(folder: Path, scale: float) -> list[Row]:
    rows = []
    for scheme in SCHEMES:
        ones, manies = [], []
        async with opened(scheme, folder) as store:
            for _ in range(max(round(5 * scale), 1)):
                ones.append(await appends_in(store, scale, 1))
                manies.append(await appends_in(store, scale, CALLERS))
        ratio = median([many / one for one, many in zip(ones, manies, strict=True)])
        figure = f"{ratio:.1f}× ({median(manies):.0f}/s against {median(ones):.0f}/s)"
        claim = f"durable append, {CALLERS} callers: {NAMES[scheme]}"
        rows.append(Row(claim, f"≥ {CALLERS_GOAL}× one caller", figure, ratio >= CALLERS_GOAL))
    return rows


def _processes(scheme: str, folder: Path, scale: float) -> Row:
    many = CALLERS if scale >= 1 else 4
    counts: dict[int, list[float]] = {1: [], many: []}
    for _ in range(max(round(3 * scale), 1)):
        for processes, found in counts.items():
            found.append(_window(scheme, folder, processes, 3 * scale))
    ratio = median([of_many / of_one for of_one, of_many in zip(counts[1], counts[many], strict=True)])
    figure = f"{ratio:.2f}× ({median(counts[many]):.0f}/s against {median(counts[1]):.0f}/s)"
    claim = f"durable append, {many} processes: {NAMES[scheme]}"
    return Row(claim, f"≥ {PROCESSES_GOAL}× one process", figure, ratio >= PROCESSES_GOAL)


def _window(scheme: str, folder: Path, processes: int, seconds: float) -> float:
    """Return the appends a second of so many processes together, in a window in which all of them are at work."""
    gate = folder / f"gate-{time.monotonic_ns()}"
    return sum(map(int, forked(processes, partial(_appender, scheme, gate, processes, seconds)))) / seconds


async def _appender(scheme: str, gate: Path, processes: int, seconds: float, number: int) -> str:
    count = 0
    async with opened(scheme, gate.parent) as store:
        await store.append(f"events/p{number}", [RECORD])
        begin = await _all_ready(gate, processes)
        while (now := time.time()) < begin + seconds:
            await store.append(f"events/p{number}", [RECORD])
            count += begin <= now
    return str(count)


async def _all_ready(gate: Path, processes: int) -> float:
    """Wait until so many processes have come here; return when they begin: a moment after the last one came."""
    with gate.open("ab", buffering=0) as file:
        file.write(b".")
    async with asyncio.timeout(PATIENCE):  # one that failed will not come
        while (found := gate.stat()).st_size < processes:
            await asyncio.sleep(0.02)
    begin = found.st_mtime + 0.2
    await asyncio.sleep(begin - time.time())
    return begin
