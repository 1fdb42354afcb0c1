"""Tally: what a number of trials showed, for a test to assert and a campaign to print."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

__all__ = ["Tally"]


@dataclass
class Tally:
    """What was tried, and what went wrong.

    Attributes:
        trials: How many faults were made.
        failures: One text per broken promise.
        counts: How often what else was seen.
    """

    trials: int = 0
    failures: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def check(self, holds: object, failure: str) -> None:
        """Note a failure unless something holds."""
        if not holds:
            self.failures.append(failure)

    def add(self, other: Tally) -> None:
        """Take another tally's figures in."""
        self.trials += other.trials
        self.failures += other.failures
        self.counts += other.counts

    @property
    def note(self) -> str:
        """The counts in one line."""
        return ", ".join(f"{count:,} {what}" for what, count in sorted(self.counts.items()))
