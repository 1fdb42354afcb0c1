"""Partitions in the network: of a leader, a follower, a client; both ways and one way; under 16 clients."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.etcdlab.trials.chaos import Parter
from tests.etcdlab.trials.histories import Plan, under_chaos
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import NEEDS, cluster_apart, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many partitions, each kind in turn."""
    with cluster_apart() as (network, cluster):
        plan = Plan(trials, pause=1.0, seed=seed)
        chaos = Parter(cluster, 3.0, network)
        tally = asyncio.run(under_chaos(cluster, cluster.endpoints, "partitions", plan, chaos, "&insecure=1"))
    yield row(tally)


CAMPAIGN = Campaign(
    "etcd_partitions",
    "Whoever is cut off from whom, in one direction or both: nothing acknowledged is lost, nothing stale is told.",
    run,
    full=60,
    part=0,
    group="etcd",
    needs=NEEDS,
)
