"""Checks of what one holds: lock, semaphore, election, membership."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Busy, Fenced, InvalidArgument, InvalidKey, LeaseLost
from tests.recipes.world import collect

if TYPE_CHECKING:
    from coordstore.recipes import Held
    from tests.recipes.world import Kit, World


async def hold_until(held: Held, event: asyncio.Event) -> None:
    async with held:
        await event.wait()


# Lock ----------------------------------------------------------------------------------------------------------------


async def lock_is_handed_on_in_the_order_of_asking(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(2)]
    locks = [kit.Lock(stores[n % 2], "a", owner=f"c{n}") for n in range(6)]
    order: list[int] = []

    async def contend(n: int) -> None:
        async with await locks[n].acquire():
            order.append(n)

    first = await locks[0].acquire()
    for n in range(1, 6):
        world.start(contend(n))
        await world.until(partial(_length, locks[0], n + 1))
    assert await locks[0].line() == [f"c{n}" for n in range(6)]
    await first.release()
    await world.until(lambda: len(order) == 5)
    assert order == [1, 2, 3, 4, 5]
    await world.until(lambda: _length(locks[0], 0))


async def _length(lock: Any, length: int) -> bool:
    return len(await lock.line()) == length


async def lock_has_one_holder(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(3)]
    inside, most, tokens = 0, 0, []

    async def contend(n: int) -> None:
        nonlocal inside, most
        async with await kit.Lock(stores[n % 3], "a").acquire() as held:
            inside += 1
            most = max(most, inside)
            tokens.append(held.token)
            for _ in range(3):
                await asyncio.sleep(0)
            inside -= 1

    await world.soon(asyncio.gather(*(contend(n) for n in range(9))))
    assert most == 1
    assert tokens == sorted(set(tokens)), "a later holder has a higher token"


async def lock_used_again_and_again_has_one_holder(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(3)]
    locks = [kit.Lock(store, "a", lease=await store.grant(60)) for store in stores]
    inside, most = 0, 0

    async def contend(lock: Any) -> None:
        nonlocal inside, most
        for _ in range(6):
            async with await lock.acquire():
                inside += 1
                most = max(most, inside)
                for _ in range(4):
                    await asyncio.sleep(0)
                inside -= 1

    await world.soon(contend(locks[0]))
    await world.soon(asyncio.gather(*(contend(lock) for lock in locks)))
    assert most == 1


async def lock_fences_off_a_former_holder(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    lock = kit.Lock(store, "a", cancel_body=False)
    old = await lock.acquire()
    await store.put("fact", b"old", fence=old.fence)
    waiting = world.start(kit.Lock(other, "a").acquire())
    await world.until(lambda: _length(lock, 2))
    await world.lose(old)
    new = await world.soon(waiting)
    await other.put("fact", b"new", fence=new.fence)
    with pytest.raises(Fenced):
        await store.put("fact", b"late", fence=old.fence)
    with pytest.raises(Fenced):
        await store.append("log", [b"late"], fence=old.fence)
    entry = await store.get("fact")
    assert entry is not None
    assert entry.value == b"new"
    assert new.token > old.token
    await new.release()


async def lock_ends_the_body_of_who_lost_it(world: World, kit: Kit) -> None:
    store = await world.open()
    held = await kit.Lock(store, "a", ttl=2).acquire()
    inside, ended = asyncio.Event(), asyncio.Event()

    async def body() -> None:
        async with held:
            inside.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    task = world.start(body())
    await inside.wait()
    await world.lose(held)
    with pytest.raises(LeaseLost, match="@lock/a/line"):
        await world.soon(task)
    assert ended.is_set()
    assert task.cancelling() == 0, "the task can go on after the error"
    await world.soon(kit.Lock(store, "a").acquire())


async def lock_says_so_when_it_was_lost_at_the_end_of_the_body(world: World, kit: Kit) -> None:
    store = await world.open()
    held = await kit.Lock(store, "a", ttl=2).acquire()

    async def body() -> None:
        async with held:
            held.lease._lost.set()

    with pytest.raises(LeaseLost):
        await world.soon(body())


async def lock_only_tells_when_asked_to(world: World, kit: Kit) -> None:
    store = await world.open()
    held = await kit.Lock(store, "a", ttl=2, cancel_body=False).acquire()
    async with held:
        await world.lose(held)
        await world.soon(held.wait_lost())
        assert held.lost
        assert "lost" in repr(held)


async def lock_passes_on_a_cancellation_from_outside(world: World, kit: Kit) -> None:
    store = await world.open()
    held = await kit.Lock(store, "a").acquire()
    task = world.start(hold_until(held, asyncio.Event()))
    await world.until(lambda: held._guard is not None)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await world.until(lambda: _length(kit.Lock(store, "a"), 0))


async def lock_can_be_given_up_inside_the_body(world: World, kit: Kit) -> None:
    store = await world.open()
    async with await kit.Lock(store, "a").acquire() as held:
        await held.release()
        await held.release()
        for _ in range(20):
            await asyncio.sleep(0)
        assert await kit.Lock(store, "a").line() == []
        assert "released" in repr(held)


async def lock_refuses_who_does_not_wait(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    lock = kit.Lock(other, "a", owner="me")
    async with await kit.Lock(store, "a", owner="first").acquire(wait=0):
        with pytest.raises(Busy, match="lock a is held, 1 stand before you"):
            await lock.acquire(wait=0)
        waiting = world.start(lock.acquire(wait=0.5))
        await world.until(waiting.done)
        with pytest.raises(Busy, match=r"lock a was not free within 0\.5 s"):
            await waiting
        assert await lock.line() == ["first"], "who gave up does not stand in line"
        assert lock.statistics()["refused"] == 2
        with pytest.raises(InvalidArgument):
            await lock.acquire(wait=-1)
    assert "refused=2" in repr(lock)


async def lock_forgets_who_is_cancelled_in_line(world: World, kit: Kit) -> None:
    store = await world.open()
    lock = kit.Lock(store, "a")
    first = await lock.acquire()
    second = world.start(lock.acquire())
    await world.until(lambda: _length(lock, 2))
    third = world.start(kit.Lock(store, "a").acquire())
    await world.until(lambda: _length(lock, 3))
    second.cancel()
    await world.until(lambda: _length(lock, 2))
    await first.release()
    await (await world.soon(third)).release()


async def lock_leaves_nothing_when_cancelled_at_any_moment(world: World, kit: Kit) -> None:
    await nothing_stays(world, lambda store, lease: kit.Lock(store, "a", lease=lease).acquire(), "@lock/a/line")


async def nothing_stays(world: World, acquire: Any, prefix: str) -> None:
    """Cancel an acquisition after each number of turns, on a lease of its own and on one of the caller's."""
    store = await world.open()
    for lease in (None, await store.grant(60)):
        for turns in (*range(12), 20, 40) if world.clock else (0, 1, 2, 3, 5, 8, 20, 22):
            task = asyncio.ensure_future(acquire(store, lease))
            for _ in range(turns):
                await asyncio.sleep(0)
            if turns >= 20 and not world.clock:
                await asyncio.sleep(0.001 * (turns - 19))
            task.cancel()
            held = None
            with suppress(asyncio.CancelledError):
                held = await task
            if held is not None:
                await held.release()
            left = (await store.list(prefix, keys_only=True)).entries
            assert left == [], f"cancelled after {turns} turns: {left}"


async def lock_wakes_only_who_is_next(world: World, kit: Kit) -> None:
    store = await world.open()
    first = await kit.Lock(store, "a").acquire()
    looks = [0] * 6
    line = []
    for n in range(6):
        handle: Any = await world.open()
        look = handle.list

        async def counted(*args: Any, n: int = n, look: Any = look, **options: Any) -> Any:
            looks[n] += 1
            return await look(*args, **options)

        handle.list = counted
        line.append(world.start(kit.Lock(handle, "a").acquire()))
        await world.until(partial(_length, kit.Lock(store, "a"), n + 2))
    await world.until(lambda: all(looks))
    await world.pause(0.02)
    before = list(looks)
    await first.release()
    await (await world.soon(line[0])).release()
    await world.soon(line[1])
    woken = [after - then for after, then in zip(looks, before, strict=True)]
    assert woken[2:] == [0, 0, 0, 0], f"looks after two releases: {woken}"


async def lock_hangs_on_a_lease_of_the_caller(world: World, kit: Kit) -> None:
    store = await world.open()
    async with await store.grant(10) as lease:
        held = await kit.Lock(store, "a", lease=lease).acquire()
        async with await kit.Lock(store, "b", lease=lease).acquire():
            assert held.lease is lease
        assert not lease.lost
        assert await kit.Lock(store, "b").line() == []
    assert held.lost
    assert await kit.Lock(store, "a").line() == []
    with pytest.raises(InvalidKey):
        kit.Lock(store, "a/b")


# Semaphore -----------------------------------------------------------------------------------------------------------


async def semaphore_never_has_more_holders_than_its_limit(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(3)]
    inside, most = 0, 0

    async def contend(n: int) -> None:
        nonlocal inside, most
        async with await kit.Semaphore(stores[n % 3], "a", 3).acquire():
            inside += 1
            most = max(most, inside)
            await world.until(lambda: most >= 3)
            await world.pause(0.01)
            inside -= 1

    await world.soon(asyncio.gather(*(contend(n) for n in range(10))))
    assert most == 3


async def semaphore_says_that_its_limit_is_reached(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    held = [await kit.Semaphore(store, "a", 2, owner=f"p{n}").acquire() for n in range(2)]
    semaphore = kit.Semaphore(other, "a", 2)
    with pytest.raises(Busy, match="limit 2/2 reached"):
        await semaphore.acquire(wait=0)
    assert await semaphore.holders() == ["p0", "p1"]
    assert semaphore.statistics()["refused"] == 1
    await held[0].release()
    await (await semaphore.acquire(wait=0)).release()
    for bad in (-1, True, 2.5):
        with pytest.raises(InvalidArgument):
            kit.Semaphore(store, "a", bad)


async def semaphore_serves_in_the_order_of_asking(world: World, kit: Kit) -> None:
    store = await world.open()
    held = [await kit.Semaphore(store, "a", 2).acquire() for _ in range(2)]
    order: list[int] = []

    async def contend(n: int) -> None:
        async with await kit.Semaphore(store, "a", 2).acquire():
            order.append(n)

    for n in range(5):
        world.start(contend(n))
        await world.until(partial(_keys, store, "@semaphore/a/line", n + 3))
    await held[1].release()
    await world.until(lambda: len(order) == 5)
    assert order == [0, 1, 2, 3, 4]


async def _keys(store: Any, prefix: str, number: int) -> bool:
    return len((await store.list(prefix, keys_only=True)).entries) == number


async def semaphore_takes_another_limit_without_losing_a_permit(world: World, kit: Kit) -> None:
    store = await world.open()
    semaphore = kit.Semaphore(store, "a", 2)
    held = [await semaphore.acquire() for _ in range(2)]
    waiting = [world.start(kit.Semaphore(await world.open(), "a", 2).acquire()) for _ in range(3)]
    await world.until(lambda: _keys(store, "@semaphore/a/line", 5))
    await semaphore.set_limit(4)
    await world.until(lambda: sum(task.done() for task in waiting) == 2)
    assert await semaphore.limit() == 4
    await semaphore.set_limit(1)
    held += [task.result() for task in waiting if task.done()]
    for one in held[:3]:
        await one.release()
    assert [task.done() for task in waiting].count(False) == 1, "one still holds, and one is allowed"
    with pytest.raises(Busy, match="limit 1/1 reached"):
        await semaphore.acquire(wait=0)
    await held[3].release()
    for task in waiting:
        await (await world.soon(task)).release()
    assert await semaphore.holders() == []
    assert await kit.Semaphore(store, "a", 2, override=7).limit() == 7


async def semaphore_leaves_nothing_when_cancelled_at_any_moment(world: World, kit: Kit) -> None:
    await nothing_stays(
        world, lambda store, lease: kit.Semaphore(store, "a", 2, lease=lease).acquire(), "@semaphore/a/line"
    )


async def semaphore_gets_the_permits_of_the_dead_and_the_cancelled_back(world: World, kit: Kit) -> None:
    store = await world.open()
    dead = await kit.Semaphore(store, "a", 1, ttl=2, cancel_body=False).acquire()
    cancelled = world.start(kit.Semaphore(store, "a", 1).acquire())
    await world.until(lambda: _keys(store, "@semaphore/a/line", 2))
    waiting = world.start(kit.Semaphore(store, "a", 1).acquire())
    await world.until(lambda: _keys(store, "@semaphore/a/line", 3))
    cancelled.cancel()
    await world.lose(dead)
    held = await world.soon(waiting)
    with pytest.raises(Fenced):
        await store.put("x", b"", fence=dead.fence)
    await held.release()


# Election ------------------------------------------------------------------------------------------------------------


async def election_has_one_leader_and_all_see_who(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    seen: list[bytes | None] = []

    source = kit.Election(other, "a").observe()
    world.start(collect(source, seen, lambda leader: leader.value if leader else None))
    await world.until(lambda: seen == [None])
    first = await kit.Election(store, "a", cancel_body=False).campaign(b"one")
    waiting = world.start(kit.Election(other, "a").campaign(b"two"))
    await world.until(lambda: _keys(store, "@election/a/line", 2))
    await first.proclaim(b"one still")
    found = await kit.Election(other, "a").leader()
    assert (found.value, found.token) == (b"one still", first.token)
    with pytest.raises(Busy):
        await kit.Election(store, "a").campaign(b"three", wait=0)
    await world.lose(first)
    second = await world.soon(waiting)
    await world.until(lambda: seen[-1] == b"two")
    with pytest.raises(Fenced):
        await first.proclaim(b"one again")
    assert second.token > first.token
    await second.release()
    await world.until(lambda: seen[-1] is None)
    assert seen == [None, b"one", b"one still", b"two", None]
    assert await kit.Election(store, "a").leader() is None


# Membership ----------------------------------------------------------------------------------------------------------


async def membership_shows_who_is_there(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    group = kit.Membership(store, "a", ttl=2, cancel_body=False)
    seen: list[dict[str, bytes]] = []

    world.start(collect(kit.Membership(other, "a").watch(), seen))
    await world.until(lambda: seen == [{}])
    ann = await group.join("ann", b"1")
    bob = await kit.Membership(other, "a").join("bob")
    with pytest.raises(Busy, match="ann is a member of a already"):
        await kit.Membership(other, "a").join("ann")
    with pytest.raises(InvalidKey):
        await group.join("A")
    await ann.say(b"2")
    assert await group.members() == {"ann": b"2", "bob": b""}
    await world.lose(ann)
    await world.until(lambda: seen[-1] == {"bob": b""})
    with pytest.raises(Fenced):
        await ann.say(b"3")
    await bob.release()
    await world.until(lambda: seen[-1] == {})
    assert seen[:5] == [{}, {"ann": b"1"}, {"ann": b"1", "bob": b""}, {"ann": b"2", "bob": b""}, {"bob": b""}]


async def membership_leaves_nothing_when_cancelled_at_any_moment(world: World, kit: Kit) -> None:
    await nothing_stays(world, lambda store, lease: kit.Membership(store, "a", lease=lease).join("m"), "@membership/a")


LINES = [
    value
    for name, value in list(globals().items())
    if name.startswith(("lock_", "semaphore_", "election_", "membership_"))
]
