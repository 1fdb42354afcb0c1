"""Cold start of the commands that only read, on a local store with a thousand agents in it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.repository import coord, environment, make_repository, plan_of
from benchmarks.stores import BUILD
from benchmarks.table import Row, median, timed

__all__ = ["measure"]

ROUNDS: Final = 15
AGENTS: Final = 1000
LIMIT: Final = 0.2
READING: Final = (
    ["inspect"],
    ["inspect", "--json"],
    ["inspect", "many"],
    ["events"],
    ["events", "--agent", "t0001"],
)
WHOLE: Final = (["report"], ["metrics"])
"""These read every event there is, so they take as long as there are events."""


def measure(scale: float = 1.0) -> list[Row]:
    """Time whole processes, after one that warms the page cache."""
    rounds = max(round(ROUNDS * scale), 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = make_repository(folder, 10)
        env = environment(folder)
        plan = str(plan_of(folder, 5, "echo {n} > out{n}.txt"))
        timed([coord(), "run", plan, "--session", "s", "--quiet"], repository, env)
        took = _typical(["inspect"], rounds, repository, env)
    return [_row("cold start of coord inspect", took, rounds), *_many(rounds, max(round(AGENTS * scale), 10))]


def _many(rounds: int, agents: int) -> list[Row]:
    """Time the commands on stores with many agents."""
    rows = []
    BUILD.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        folder = Path(name)
        env = environment(folder)
        for scheme, label in (("sqlite", "SQLite"), ("file", "File")):
            url = f"{scheme}:{folder}/{scheme}/store"
            argv = [sys.executable, "-m", "benchmarks.many_agents", url, str(agents)]
            subprocess.run(argv, check=True, capture_output=True)
            for args in (*READING, *WHOLE):
                took = _typical(["--store", url, *args], rounds, folder, env)
                claim = f"coord {' '.join(args)}, {agents} agents: {label}"
                rows.append(_row(claim, took, rounds, goal=args in READING))
    return rows


def _typical(args: list[str], rounds: int, cwd: Path, env: dict[str, str]) -> float:
    return median([timed([coord(), *args], cwd, env) for _ in range(rounds + 1)][1:])


def _row(claim: str, took: float, rounds: int, *, goal: bool = True) -> Row:
    figure = f"{took:.3f} s (median of {rounds})"
    return Row(claim, f"≤ {LIMIT:g} s" if goal else "", figure, took <= LIMIT if goal else None)
