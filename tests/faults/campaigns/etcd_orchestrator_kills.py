"""The orchestrator killed with -9 every five seconds while twenty agents work, on etcd."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.campaign import Campaign, Outcome
from tests.faults.campaigns._etcd import one_server
from tests.faults.campaigns.orchestrator_kills import NEEDS, PROMISE, outcome

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Kill so many orchestrators of one session."""
    with one_server(heartbeat=100, election=1000) as server:
        yield outcome("etcd", f"etcd://127.0.0.1:{server.port}/kills", trials, seed)


CAMPAIGN = Campaign("etcd-orchestrator-kills", PROMISE, run, full=120, part=2, group="etcd", needs=(*NEEDS, "etcd"))
