"""Holders cut off from the cluster, in one direction or both, know that they are lost within their TTL."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.etcdlab.trials.holders import cut_off
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import one_server, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Cut so many holders off."""
    with one_server() as server:
        yield row(asyncio.run(cut_off(server, "holders", trials)))


CAMPAIGN = Campaign(
    "etcd_holders",
    "A holder that is cut off takes its lease for lost within the TTL of its last answered renewal.",
    run,
    full=60,
    part=0,
    group="etcd",
    needs=("etcd",),
)
