"""kill -9 before any change of a file, any process or any transaction of merge, validation and landing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.campaign import Campaign, Outcome
from tests.git.merge_kills import sweep

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Kill at so many steps, each resumed and compared with a run that nobody disturbed."""
    found = list(sweep(trials, seed))
    yield Outcome("sqlite, git", len(found), tuple(wrong for _, wrong in found if wrong))


CAMPAIGN = Campaign(
    name="merge-kills",
    promise="Killed at any step of merging and landing, a session ends with the same tree and verdicts as undisturbed.",
    run=run,
    full=10_000,
    part=3,
    needs=("git", "linux"),
)
