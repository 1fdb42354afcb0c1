"""Three members on loopback whose leader is killed or stopped under load: what was acknowledged stays."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.errors import CoordError, OutcomeUnknown
from tests.etcdlab.trials.chaos import Killer, Stopper, broken_by_a_pause
from tests.etcdlab.trials.histories import Plan, under_chaos

if TYPE_CHECKING:
    from tests.etcdlab.cluster import Cluster

pytestmark = [pytest.mark.req("S4", "S5", "S6", "S7", "S8", "S9", "S12"), pytest.mark.timeout(180)]

LONG = 60.0


@pytest.mark.parametrize("kind", [Killer, Stopper])
async def test_histories_are_sound_while_leaders_are_killed_or_stopped(
    etcd_cluster: Cluster, kind: type[Killer | Stopper]
) -> None:
    known = broken_by_a_pause(etcd_cluster.servers[0]) if kind is Stopper else frozenset[str]()
    plan = Plan(faults=3, operations=600, clients=8, pause=0.3, known=known)
    tally = await under_chaos(etcd_cluster, etcd_cluster.endpoints, "h", plan, kind(etcd_cluster, 1.0), "")
    assert not tally.failures, "\n".join(tally.failures)
    assert tally.trials == 3
    assert tally.counts["acknowledged"] > 300


async def test_one_handle_finds_the_member_that_serves_while_each_in_turn_does_not(etcd_cluster: Cluster) -> None:
    acknowledged = []
    async with open_store(f"etcd://{etcd_cluster.endpoints}/turns?timeout=20") as store:
        for number, server in enumerate(etcd_cluster.servers):
            server.kill()
            for again in range(10):
                value = f"{number}.{again}".encode()
                try:
                    await asyncio.wait_for(store.put(f"k/{number}-{again}", value), LONG)
                except OutcomeUnknown:
                    # It was sent to the member that went: that is what may be said, and no more.
                    continue
                acknowledged.append((f"k/{number}-{again}", value))
            server.start()
            await asyncio.to_thread(etcd_cluster.ready)
        found = {entry.key: entry.value for entry in (await store.list("k")).entries}
    # Of each member that goes, what it had been sent, and what it had yet to lead.
    assert len(acknowledged) >= 24
    assert {key: found[key] for key, _ in acknowledged} == dict(acknowledged)


async def test_without_a_majority_nothing_is_acknowledged_and_with_it_all_goes_on(etcd_cluster: Cluster) -> None:
    async with open_store(f"etcd://{etcd_cluster.endpoints}/quorum?timeout=2") as store:
        await store.put("a", b"1")
        lost = etcd_cluster.followers()
        for server in lost:
            server.stop()
        for call in (store.put("a", b"2"), store.get("a")):
            with pytest.raises(CoordError):
                await asyncio.wait_for(call, LONG)
        for server in lost:
            server.cont()
        await asyncio.to_thread(etcd_cluster.ready)
        while True:
            try:
                revision = await store.put("b", b"1")
            except CoordError:
                continue
            break
        entry = await store.get("a")
        assert entry is not None
        assert entry.revision < revision
