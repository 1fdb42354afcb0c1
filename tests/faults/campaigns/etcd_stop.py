"""Leaders stopped with SIGSTOP and let go on: what they believed meanwhile harms nobody."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.etcdlab.trials.chaos import Stopper, broken_by_a_pause
from tests.etcdlab.trials.histories import Plan, under_chaos
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import NEEDS, cluster_apart, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Stop so many leaders of three members in namespaces."""
    with cluster_apart() as (_, cluster):
        plan = Plan(trials, pause=1.0, seed=seed, known=broken_by_a_pause(cluster.servers[0]))
        tally = asyncio.run(under_chaos(cluster, cluster.endpoints, "stop", plan, Stopper(cluster, 2.0), "&insecure=1"))
    yield row(tally)


CAMPAIGN = Campaign(
    "etcd_stop",
    "A leader that stood still and goes on acknowledges nothing that is lost, and tells nothing that is old.",
    run,
    full=60,
    part=0,
    group="etcd",
    needs=NEEDS,
)
