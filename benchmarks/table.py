"""The table that `make bench` prints: one row per claim, with its goal, the figure measured and a verdict."""

from __future__ import annotations

import statistics
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["Row", "format_table", "median", "timed"]


@dataclass(frozen=True)
class Row:
    """One claim.

    Args:
        claim: What is measured.
        goal: What it is to be, in words.
        figure: What it was, in words.
        ok: Whether the goal was met; None: no goal, for information.
    """

    claim: str
    goal: str
    figure: str
    ok: bool | None

    @property
    def verdict(self) -> str:
        """Return the last column."""
        return "" if self.ok is None else "ok" if self.ok else "MISSED"


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows as an aligned text table."""
    cells = [("claim", "goal", "figure", ""), *((row.claim, row.goal, row.figure, row.verdict) for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(3)]
    lines = [
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]) for row in cells
    ]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def median(values: Sequence[float]) -> float:
    """Return the median, which a noisy machine moves least."""
    return statistics.median(values)


def timed(argv: Sequence[str], cwd: Path, env: Mapping[str, str], expect: int | None = 0) -> float:
    """Run a command to its end, which may be any when none is expected; return its wall time in seconds.

    Raises:
        RuntimeError: It ended with another status than expected; its output is in the message.
    """
    began = time.perf_counter()
    done = subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    took = time.perf_counter() - began
    if expect is not None and done.returncode != expect:
        message = f"{argv} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        raise RuntimeError(message)
    return took
