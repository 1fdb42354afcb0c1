"""Slots: what makes a lost reply knowable costs one key, which is used again and goes with the client."""

from __future__ import annotations

import asyncio
import json

import pytest

from coordstore.errors import InvalidArgument, LeaseLost, OutcomeUnknown
from coordstore.model import Put
from coordstore.testing import Clock, Memory, MemoryStore
from coordstore.testing.suite.resolve import losing_replies

pytestmark = pytest.mark.req("S5")


async def _slots(store: MemoryStore) -> list[str]:
    return [entry.key for entry in (await store.list("@ops")).entries]


async def test_one_slot_serves_one_transaction_after_another() -> None:
    store = MemoryStore()
    for number in range(10):
        await store.transact([Put("a", b"%d" % number)], resolvable=True)
    assert len(await _slots(store)) == 1
    assert len(await store.leases()) == 1


async def test_concurrent_transactions_have_slots_of_their_own_on_one_lease() -> None:
    store = MemoryStore()
    await asyncio.gather(*(store.transact([Put(f"a/{n}", b"")], resolvable=True) for n in range(5)))
    assert len(await _slots(store)) == 5
    assert len(await store.leases()) == 1


async def test_slots_go_when_the_client_closes() -> None:
    memory = Memory()
    async with MemoryStore(memory) as store:
        await store.transact([Put("a", b"")], resolvable=True)
    left = MemoryStore(memory)
    assert (await _slots(left), await left.leases()) == ([], [])


async def test_a_dead_clients_answer_stays_for_its_lease_and_then_is_too_late() -> None:
    clock = Clock()
    memory = Memory(clock)
    dead, asking = MemoryStore(memory), MemoryStore(memory)
    with losing_replies(dead, landing=False), pytest.raises(OutcomeUnknown) as caught:
        await dead.transact([Put("a", b"")], resolvable=True)
    assert caught.value.op is not None
    for task in asyncio.all_tasks():
        if (task.get_name() or "").startswith("lease-"):
            task.cancel()
    await clock.advance(59)
    assert not await asking.resolve(caught.value.op)
    await clock.advance(2)
    with pytest.raises(LeaseLost):
        await asking.resolve(caught.value.op)


@pytest.mark.parametrize("key", ["agents/t1.1/status", "Not A Key"])
async def test_an_op_that_names_another_key_than_a_slot_is_refused(key: str) -> None:
    store = MemoryStore()
    lease = await store.grant(60)
    with pytest.raises(InvalidArgument):
        await store.resolve(json.dumps([key, "mark", lease.id]))
    assert (await store.list()).entries == []
