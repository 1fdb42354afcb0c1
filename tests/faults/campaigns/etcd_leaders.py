"""Leaders killed with -9, one every five seconds for ten minutes, under 16 clients and their watchers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.etcdlab.trials.chaos import Killer
from tests.etcdlab.trials.histories import Plan, under_chaos
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import NEEDS, cluster_apart, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Kill so many leaders of three members in namespaces."""
    with cluster_apart() as (_, cluster):
        plan = Plan(trials, pause=4.5, seed=seed)
        tally = asyncio.run(under_chaos(cluster, cluster.endpoints, "leaders", plan, Killer(cluster), "&insecure=1"))
    yield row(tally)


CAMPAIGN = Campaign(
    "etcd_leaders",
    "No acknowledged write is lost however often the leader is killed, and every history is linearizable.",
    run,
    full=120,
    part=0,
    group="etcd",
    needs=NEEDS,
)
