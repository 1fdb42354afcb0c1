"""Replies that a proxy drops: no write that was carried out is called failed, none is carried out twice."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from tests.etcdlab.trials.replies import lost_replies
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import one_server, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Lose so many replies and requests."""
    with one_server() as server:
        yield row(asyncio.run(lost_replies(server, "replies", trials, random.Random(seed))))


CAMPAIGN = Campaign(
    "etcd_replies",
    "A lost reply is an unknown outcome, never a failure; nothing is applied twice; resolve tells what happened.",
    run,
    full=1_000,
    part=0,
    group="etcd",
    needs=("etcd",),
)
