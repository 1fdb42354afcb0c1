"""One server, with the faults that a client must stand: lost replies, cuts, compaction, a full database, other data."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.errors import Conflict, LeaseLost, StoreReplaced, Unavailable
from coordstore.model import Put
from tests.etcdlab.proxy import Proxy
from tests.etcdlab.trials.holders import cut_off, lease_storm, zombies
from tests.etcdlab.trials.replies import lost_replies
from tests.etcdlab.trials.streams import catch_up, cut_streams

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore import CoordStore
    from coordstore.store import Lease
    from tests.etcdlab.server import Server
    from tests.etcdlab.tally import Tally

pytestmark = [pytest.mark.req("S5", "S6", "S9", "S12"), pytest.mark.timeout(120)]

SEED = 1
PATIENCE = 40.0


def all_well(tally: Tally, trials: int) -> None:
    assert not tally.failures, "\n".join(tally.failures[:5])
    assert tally.trials >= trials


# Trials that the campaigns make in large numbers ---------------------------------------------------------------------


async def test_lost_replies_are_unknown_never_failed_and_nothing_is_applied_twice(etcd_server: Server) -> None:
    tally = await lost_replies(etcd_server, "replies", 30, random.Random(SEED))
    all_well(tally, 30)
    assert tally.counts["reply cut"] > 15
    assert tally.counts["resolved"] > 5


async def test_streams_cut_at_random_bytes_lose_and_double_nothing(etcd_server: Server) -> None:
    all_well(await cut_streams(etcd_server, "cuts", 300, random.Random(SEED)), 3)
    # Nothing of the streams that were cut goes on waiting for what nobody will send.
    async with asyncio.timeout(PATIENCE):
        while any("_consume_request_iterator" in repr(task) for task in asyncio.all_tasks()):  # noqa: ASYNC110 - grpc's
            await asyncio.sleep(0)


async def test_a_watcher_that_was_away_catches_up_over_megabytes(etcd_server: Server) -> None:
    tally = await catch_up(etcd_server, "catchup", 12, random.Random(SEED))
    all_well(tally, 1)
    assert tally.counts["revisions"] == 50


async def test_zombies_are_fenced_also_when_their_write_was_in_flight(etcd_server: Server) -> None:
    all_well(await zombies(etcd_server, "zombies", 20, random.Random(SEED)), 20)


async def test_a_holder_that_is_cut_off_knows_within_its_ttl(etcd_server: Server) -> None:
    all_well(await cut_off(etcd_server, "off", 3), 3)


async def test_a_storm_of_leases_starves_no_renewal(etcd_server: Server) -> None:
    tally = await lease_storm(etcd_server, "storm", 1_000)
    all_well(tally, 1)
    assert tally.counts["renewals of the kept one"]


async def test_a_pause_of_etcd_longer_than_the_ttl_loses_the_lease_and_the_handle_goes_on(etcd_server: Server) -> None:
    async with open_store(f"etcd://{etcd_server.endpoint}/pause?timeout=1") as store:
        async with await store.grant(2) as lease:
            await store.create("held", b"", lease)
            etcd_server.stop()
            await asyncio.wait_for(lease.wait_lost(), PATIENCE)
            etcd_server.cont()
            await asyncio.to_thread(etcd_server.ready)
            with pytest.raises(LeaseLost):
                await lease.renew()
            assert lease.lost, "whatever etcd did with it, it does not come back"
        again = await store.grant(2)
        await asyncio.wait_for(taken(store, again), PATIENCE)


async def taken(store: CoordStore, lease: Lease) -> None:
    """Take the key as soon as it is free."""
    while True:
        try:
            await store.create("held", b"", lease)
        except (Conflict, Unavailable):
            await lease.renew()
        else:
            return


# Compaction ----------------------------------------------------------------------------------------------------------


async def test_a_watcher_behind_a_compaction_gets_a_reset_and_then_goes_on(etcd_server: Server) -> None:
    gateway = etcd_server.gateway()
    async with (
        Proxy(etcd_server.host, etcd_server.port) as proxy,
        open_store(f"etcd://{proxy.endpoint}/c") as behind,
        open_store(f"etcd://{etcd_server.endpoint}/c") as direct,
        contextlib.aclosing(behind.watch("w", await direct.put("w/a", b"1"))) as watch,
    ):
        await direct.put("w/b", b"1")
        first = await asyncio.wait_for(anext(watch), PATIENCE)
        assert [change.key for change in first.changes] == ["w/b"]
        proxy.refusing = True
        proxy.cut()
        await direct.delete("w/a")
        for number in range(20):
            await direct.put("w/b", b"%d" % number)
        gateway.compact()
        proxy.heal()
        batches = [await asyncio.wait_for(anext(watch), PATIENCE)]
        while not batches[-1].complete:
            batches.append(await asyncio.wait_for(anext(watch), PATIENCE))
        assert all(batch.reset for batch in batches)
        state = {change.key: change.entry.value for batch in batches for change in batch.changes if change.entry}
        assert state == {"w/b": b"19"}
        last = await direct.put("w/c", b"new")
        after = await asyncio.wait_for(anext(watch), PATIENCE)
        assert (after.reset, after.revision, [change.key for change in after.changes]) == (False, last, ["w/c"])


async def test_a_follower_does_not_mind_a_compaction(etcd_server: Server) -> None:
    async with (
        Proxy(etcd_server.host, etcd_server.port) as proxy,
        open_store(f"etcd://{proxy.endpoint}/c") as behind,
        open_store(f"etcd://{etcd_server.endpoint}/c") as direct,
        contextlib.aclosing(behind.follow("s")) as follow,
    ):
        await direct.append("s/1", [b"0"])
        seen = [(await asyncio.wait_for(anext(follow), PATIENCE)).data]
        proxy.refusing = True
        proxy.cut()
        for number in range(1, 20):
            await direct.append(f"s/{number % 3}", [b"%d" % number])
        etcd_server.gateway().compact()
        proxy.heal()
        seen += [(await asyncio.wait_for(anext(follow), PATIENCE)).data for _ in range(19)]
        assert seen == [b"%d" % number for number in range(20)]


# Space ---------------------------------------------------------------------------------------------------------------


async def fill(store: CoordStore) -> None:
    """Write 36 MB."""
    for number in range(40):
        await store.put(f"big/{number % 4}", random.Random(number).randbytes(900_000))


async def test_a_full_database_is_told_clearly_and_works_again_when_there_is_space(
    start_etcd: Callable[..., Server],
) -> None:
    server = start_etcd(quota=16 << 20)
    gateway = server.gateway()
    async with open_store(f"etcd://{server.endpoint}/full") as store:
        await store.put("small", b"1")
        with pytest.raises(Unavailable, match=r"NOSPACE.*not applied.*defragment"):
            await fill(store)
        assert gateway.alarms() == ["NOSPACE"]
        before = await store.get("small")
        with pytest.raises(Unavailable, match="NOSPACE"):
            await store.put("small", b"2")
        assert await store.get("small") == before, "certainly not applied, and reads go on"
        assert await store.delete_prefix("big"), "what makes space is allowed"
        gateway.compact()
        gateway.defragment()
        gateway.disarm()
        await store.put("small", b"2")
        assert not gateway.alarms()


# Identity ------------------------------------------------------------------------------------------------------------


async def test_other_data_under_a_handle_are_noticed(etcd_server: Server) -> None:
    async with open_store(f"etcd://{etcd_server.endpoint}/id") as store:
        revision = [await store.put("a", b"%d" % number) for number in range(9)][-1]
        async with contextlib.aclosing(store.watch("", revision)) as watch:
            waiting = asyncio.create_task(anext(watch))
            await asyncio.sleep(0)
            etcd_server.wipe()
            etcd_server.start()
            await asyncio.to_thread(etcd_server.ready)
            with pytest.raises(StoreReplaced, match=r"open it anew|start anew"):
                await asyncio.wait_for(waiting, PATIENCE)
        with pytest.raises(StoreReplaced):
            await store.get("a")
        with pytest.raises(StoreReplaced):
            await store.put("a", b"into the wrong store")
    assert not etcd_server.gateway().range("id:k")


# Neighbours ----------------------------------------------------------------------------------------------------------


async def test_stores_under_different_prefixes_do_not_see_one_another(etcd_server: Server) -> None:
    names = ("a", "ab", "a/b", "b")
    async with contextlib.AsyncExitStack() as stack:
        stores = {
            name: await stack.enter_async_context(open_store(f"etcd://{etcd_server.endpoint}/{name}")) for name in names
        }
        for name, store in stores.items():
            await store.transact([Put("b/k", name.encode())])
            await store.append("b/s", [name.encode()])
        for name, store in stores.items():
            assert [(entry.key, entry.value) for entry in (await store.list("")).entries] == [("b/k", name.encode())]
            assert [record.data for record in await store.read("b/s")] == [name.encode()]
            assert await store.heads("") == {"b/s": 1}
        assert len({(await store.info()).store_id for store in stores.values()}) == len(names)
        async with contextlib.aclosing(stores["ab"].watch("", (await stores["ab"].info()).revision)) as watch:
            assert await stores["a"].delete_prefix("") == 1
            await stores["ab"].put("mine", b"")
            batch = await asyncio.wait_for(anext(watch), PATIENCE)
            assert [change.key for change in batch.changes] == ["mine"]
        assert await stores["a/b"].get("b/k") is not None
