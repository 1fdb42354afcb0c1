"""A watcher that was away while 100 MB were written catches up through cuts, without a loss."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.etcdlab.trials.streams import catch_up
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import one_server, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Let so many watchers catch up, each on a server of its own: its database has a quota of 2 GiB."""
    for number in range(trials):
        with one_server() as server:
            yield row(asyncio.run(catch_up(server, "catchup", 110, random.Random(f"{seed}/{number}"))))


CAMPAIGN = Campaign(
    "etcd_catchup",
    "A watcher that was away catches up over 100 MB and misses no revision.",
    run,
    full=3,
    part=0,
    group="etcd",
    needs=("etcd",),
)
