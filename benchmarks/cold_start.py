"""Cold start of `coord inspect` on a local store."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Final

from benchmarks.repository import coord, environment, make_repository, plan_of
from benchmarks.table import Row, median, timed

__all__ = ["measure"]

ROUNDS: Final = 15
LIMIT: Final = 0.2


def measure(scale: float = 1.0) -> list[Row]:
    """Time whole processes, after one that warms the page cache."""
    rounds = max(round(ROUNDS * scale), 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        repository = make_repository(folder, 10)
        env = environment(folder)
        timed(
            [coord(), "run", str(plan_of(folder, 5, "echo {n} > out{n}.txt")), "--session", "s", "--quiet"],
            repository,
            env,
        )
        times = [timed([coord(), "inspect"], repository, env) for _ in range(rounds + 1)][1:]
    took = median(times)
    return [Row("cold start of coord inspect", f"≤ {LIMIT:g} s", f"{took:.3f} s (median of {rounds})", took <= LIMIT)]
