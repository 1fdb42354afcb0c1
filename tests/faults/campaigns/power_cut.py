"""The power of a real ext4 is cut after an acknowledgement: nothing acknowledged is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.campaign import Campaign, Outcome
from tests.faults.crash.power import cuts
from tests.faults.crash.scenarios import BOTH

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many cuts on each backend."""
    for scheme in BOTH:
        found = list(cuts(scheme, trials, seed))
        acked = sum(cut["acked"] for cut in found)
        wrong = tuple(f"seed {seed}, cut {cut['cut']}: {cut['problem']}" for cut in found if cut["problem"])
        yield Outcome(scheme, len(found), wrong, f"{acked:,} acknowledged")


CAMPAIGN = Campaign(
    "power_cut",
    "At durability=full, what was acknowledged before a power cut is there after it.",
    run,
    full=1_000,
    part=8,
    needs=("linux", "root", "mkfs.ext4", "losetup"),
)
