"""Checks of what several do together: barriers and counters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Busy, Corrupt, Fenced, InvalidArgument, OutcomeUnknown
from tests.recipes.lines import nothing_stays

if TYPE_CHECKING:
    from tests.recipes.world import Kit, World


async def barrier_holds_all_until_it_opens(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    await world.soon(kit.Barrier(other, "a").wait())
    closed = await kit.Barrier(store, "a").close()
    with pytest.raises(Busy, match="closed already"):
        await kit.Barrier(other, "a").close()
    waiting = [world.start(kit.Barrier(each, "a").wait()) for each in (store, other)]
    await world.pause(0.02)
    assert not any(task.done() for task in waiting)
    await closed.release()
    await world.soon(asyncio.gather(*waiting))


async def barrier_opens_when_who_closed_it_dies(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    closed = await kit.Barrier(store, "a", ttl=2, cancel_body=False).close()
    waiting = world.start(kit.Barrier(other, "a").wait())
    await world.lose(closed)
    await world.soon(waiting)
    with pytest.raises(Fenced):
        await store.put("x", b"", fence=closed.fence)


async def barrier_leaves_nothing_when_cancelled_at_any_moment(world: World, kit: Kit) -> None:
    await nothing_stays(world, lambda store, lease: kit.Barrier(store, "a", lease=lease).close(), "@barrier/a")
    await nothing_stays(world, lambda store, lease: kit.DoubleBarrier(store, "a", 2, lease=lease).enter(), "@barrier/a")


async def double_barrier_lets_all_in_and_out_together(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(3)]
    for _ in range(2):
        inside: list[Any] = []
        left: list[int] = []

        async def party(n: int, inside: list[Any] = inside, left: list[int] = left) -> None:
            entered = await kit.DoubleBarrier(stores[n], "a", 3).enter()
            inside.append(entered)
            await world.until(lambda: len(inside) == 3)
            if n == 0:
                await world.pause(0.01)
            await entered.leave()
            left.append(n)
            assert (await stores[n].list("@barrier/a/parties")).entries == []

        tasks = [world.start(party(n)) for n in range(2)]
        await world.until(lambda: _parties(stores[0], 2))
        assert not inside
        tasks.append(world.start(party(2)))
        await world.soon(asyncio.gather(*tasks))
        assert len(left) == 3


async def _parties(store: Any, number: int) -> bool:
    return len((await store.list("@barrier/a/parties")).entries) == number


async def double_barrier_keeps_the_late_for_the_next_round(world: World, kit: Kit) -> None:
    store = await world.open()
    first = [world.start(kit.DoubleBarrier(store, "a", 2, ttl=2).enter()) for _ in range(2)]
    one, two = await world.soon(asyncio.gather(*first))
    late = world.start(kit.DoubleBarrier(store, "a", 2).enter())
    await world.until(lambda: _parties(store, 3))
    leaving = world.start(one.leave())
    await world.pause(0.02)
    assert not leaving.done()
    assert not late.done()
    await world.lose(two)
    await world.soon(leaving)
    other = world.start(kit.DoubleBarrier(store, "a", 2).enter())
    await world.soon(asyncio.gather(late, other))
    alone = world.start(kit.DoubleBarrier(store, "b", 2).enter(wait=0.2))
    await world.until(alone.done)
    with pytest.raises(Busy):
        await alone
    assert (await store.list("@barrier/b")).entries == []
    with pytest.raises(InvalidArgument):
        await kit.DoubleBarrier(store, "b", 2).enter(wait=0)
    with pytest.raises(InvalidArgument):
        kit.DoubleBarrier(store, "a", 64)


async def counter_loses_no_change(world: World, kit: Kit) -> None:
    counters = [kit.Counter(await world.open(), "a") for _ in range(3)]
    assert await counters[0].get() == 0
    sums = await world.soon(asyncio.gather(*(counters[n % 3].add() for n in range(30))))
    assert sorted(sums) == list(range(1, 31)), "every change sees another sum"
    assert await counters[1].add(-31) == -1
    await counters[1].set(10**30)
    assert await counters[2].add() == 10**30 + 1
    assert counters[0].statistics()["added"] == 10


async def counter_goes_by_a_fence(world: World, kit: Kit) -> None:
    store = await world.open()
    held = await kit.Lock(store, "a").acquire()
    counter = kit.Counter(store, "a")
    await counter.add(fence=held.fence)
    await held.release()
    with pytest.raises(Fenced):
        await counter.add(fence=held.fence)
    assert await counter.get() == 1
    await store.put(counter.key, b"one")
    with pytest.raises(Corrupt):
        await counter.get()


async def counter_finds_out_what_became_of_a_write(world: World, kit: Kit) -> None:
    store: Any = await world.open()
    sound, unknown = store.do_transact, [True, False, True]

    async def torn(txn: Any) -> Any:
        landed = unknown.pop() if len(txn.writes) > 1 and unknown else None
        done = await sound(txn) if landed in (None, True) else None
        if landed is not None:
            message = "no answer"
            raise OutcomeUnknown(message)
        return done

    store.do_transact = torn
    counter = kit.Counter(store, "a")
    for number in (1, 2, 3):
        assert await counter.add(resolvable=True) == number
    assert unknown == []
    assert await counter.get() == 3

    async def lost(txn: Any) -> Any:
        message = "no answer"
        raise OutcomeUnknown(message)

    store.do_transact = lost
    with pytest.raises(OutcomeUnknown):
        await counter.add()
    store.do_transact = sound


MEETING = [
    value for name, value in list(globals().items()) if name.startswith(("barrier_", "double_barrier_", "counter_"))
]
