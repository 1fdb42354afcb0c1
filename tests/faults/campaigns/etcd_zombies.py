"""Writes of former holders, held back in the network or made long after: each is refused as fenced."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.etcdlab.trials.holders import zombies
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import one_server, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Let so many zombies write."""
    with one_server() as server:
        yield row(asyncio.run(zombies(server, "zombies", trials, random.Random(seed))))


CAMPAIGN = Campaign(
    "etcd_zombies",
    "A write under a token that is not the holder's any more is refused, also when it was sent in time.",
    run,
    full=500,
    part=0,
    group="etcd",
    needs=("etcd",),
)
