"""Stores that survive a killed process, against a raw loop and against peers, each in its own environment."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.environments import python_of, version
from benchmarks.stores import BUILD, NAMES, SCHEMES, appends_in, opened
from benchmarks.table import Row, median

__all__ = ["PEERS", "measure"]

ROUNDS: Final = 5
SECONDS: Final = 0.7
CALLERS: Final = 64
FILE_GOAL: Final = 3
LOOPS: Final = Path(__file__).with_name("peer_loops.py")
PEERS: Final = {
    "litequeue": "litequeue",
    "huey_sqlite": "huey",
    "huey_file": "huey",
    "persist_queue": "persist-queue",
    "diskcache": "diskcache",
    "tooz": "tooz",
}
"""By loop: the distribution that it needs."""
FILES: Final = ("huey_file", "persist_queue")
"""The ones that store what they are given in plain files; a tooz lock is a file too, but nothing is stored in it."""


def measure(scale: float = 1.0, peers: tuple[str, ...] = tuple(PEERS)) -> list[Row]:
    """Let everybody have a window in turn, round after round; those first who create files and delete none.

    ext4 without a journal passes over inodes that were freed a moment ago, one by one: behind somebody who deletes
    files by the thousand, to create one takes ten times as long.
    """
    pythons = {name: python_of(PEERS[name]) for name in peers}
    pythons["raw_sqlite"] = sys.executable
    creating = [name for name in ("file", "huey_file") if name in (*SCHEMES, *peers)]
    rates: dict[str, list[float]] = {name: [] for name in (*SCHEMES, *pythons)}
    with tempfile.TemporaryDirectory(dir=BUILD) as folder:
        for names in (creating, [name for name in rates if name not in creating]):
            for _ in range(max(round(ROUNDS * scale), 1)):
                for name in names:
                    rates[name].append(_rate(name, pythons, Path(folder), SECONDS * scale))
    return [*_goals(rates), *(_information(peer, rates) for peer in peers)]


def _rate(name: str, pythons: dict[str, str], folder: Path, seconds: float) -> float:
    if name in SCHEMES:
        return asyncio.run(_ours(name, folder, seconds))
    return _theirs(name, pythons[name], folder, seconds)


async def _ours(scheme: str, folder: Path, seconds: float) -> float:
    async with opened(scheme, folder, "process") as store:
        await appends_in(store, seconds / 10, CALLERS)
        return await appends_in(store, seconds, CALLERS)


def _theirs(peer: str, python: str, folder: Path, seconds: float) -> float:
    argv = [python, str(LOOPS), peer, str(folder), str(seconds)]
    return float(subprocess.run(argv, check=True, capture_output=True, text=True).stdout)


def _goals(rates: dict[str, list[float]]) -> list[Row]:
    raw = _ratio(rates, "sqlite", "raw_sqlite")
    rows = [_row(NAMES["sqlite"], "≥ 1× raw loop, one insert a commit", raw, rates, ("sqlite", "raw_sqlite"), 1)]
    best = max((peer for peer in FILES if peer in rates), key=lambda peer: median(rates[peer]), default=None)
    if best is not None:
        goal = f"≥ {FILE_GOAL}× best file peer ({_shown(best)})"
        rows.append(_row(NAMES["file"], goal, _ratio(rates, "file", best), rates, ("file", best), FILE_GOAL))
    return rows


def _row(name: str, goal: str, ratio: float, rates: dict[str, list[float]], pair: tuple[str, str], least: float) -> Row:
    ours, theirs = (median(rates[one]) for one in pair)
    figure = f"{ratio:.2f}× ({ours:.0f}/s against {theirs:.0f}/s)"
    return Row(f"durability=process, {CALLERS} callers: {name}", goal, figure, ratio >= least)


def _information(peer: str, rates: dict[str, list[float]]) -> Row:
    scheme = "file" if peer in (*FILES, "tooz") else "sqlite"
    figure = f"{median(rates[peer]):.0f}/s; {NAMES[scheme]} is {_ratio(rates, scheme, peer):.1f}×"
    return Row(f"  peer: {_shown(peer)}", "", figure, None)


def _shown(peer: str) -> str:
    what = {"tooz": " lock and unlock", "huey_file": " file", "huey_sqlite": " sqlite"}.get(peer, "")
    return f"{PEERS[peer]} {version(PEERS[peer])}{what}"


def _ratio(rates: dict[str, list[float]], ours: str, theirs: str) -> float:
    return median([one / other for one, other in zip(rates[ours], rates[theirs], strict=True)])
