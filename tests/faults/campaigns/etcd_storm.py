"""A thousand leases granted, half of them revoked at once and the rest run out, while one is kept alive."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.etcdlab.trials.holders import lease_storm
from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import cluster_apart, row

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many storms."""
    with cluster_apart() as (_, cluster):
        for number in range(trials):
            yield row(asyncio.run(lease_storm(cluster.servers[0], f"storm-{number}", 1_000)))


CAMPAIGN = Campaign(
    "etcd_storm",
    "A storm of a thousand leases starves no renewal, and leaves no key behind.",
    run,
    full=3,
    part=0,
    group="etcd",
    needs=("linux", "root", "etcd", "ip", "iptables"),
)
