"""Connections cut at random bytes under a watch and a follow: nothing is lost, nothing comes twice."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.etcdlab.tally import Tally
from tests.etcdlab.trials.streams import cut_streams
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import one_server, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Write in rounds until so many connections were cut."""
    tally, number = Tally(), 0
    with one_server() as server:
        while tally.trials < trials and not tally.failures:
            rng = random.Random(f"{seed}/{number}")
            tally.add(asyncio.run(cut_streams(server, f"cuts-{number}", 1_000, rng)))
            number += 1
    yield row(tally)


CAMPAIGN = Campaign(
    "etcd_cuts",
    "A watch and a follow whose connection is cut anywhere deliver everything once and in order.",
    run,
    full=1_000,
    part=0,
    group="etcd",
    needs=("etcd",),
)
