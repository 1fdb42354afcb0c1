"""Checks of the pool."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Busy, Fenced, InvalidKey
from coordstore.model import Put
from coordstore.recipes.pool import Request
from tests.recipes.lines import nothing_stays
from tests.recipes.world import collect

if TYPE_CHECKING:
    from coordstore.recipes import Held
    from tests.recipes.world import Kit, World

__all__ = ["POOL"]


async def register(kit: Kit, store: Any, *agents: tuple[str, tuple[str, ...], int]) -> list[Held]:
    return [await kit.Pool(store, "p").register(*agent) for agent in agents]


async def queued(store: Any, number: int) -> bool:
    return len((await store.list("@pool/p/queue", keys_only=True)).entries) == number


async def pool_gives_an_agent_at_once_or_says_that_all_are_busy(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    await register(kit, store, ("a", (), 0), ("b", (), 0))
    pool = kit.Pool(other, "p", owner="me")
    with pytest.raises(Busy, match="pool p has an agent a already"):
        await pool.register("a")
    one, two = await pool.reserve(wait=0), await kit.Pool(store, "p").reserve(wait=0)
    assert {one.agent, two.agent} == {"a", "b"}
    with pytest.raises(Busy, match="limit 2/2 reached"):
        await pool.reserve(wait=0)
    await store.put("work", b"1", fence=one.fence)
    await one.release()
    with pytest.raises(Fenced):
        await store.put("work", b"2", fence=one.fence)
    async with await pool.reserve(wait=0) as again:
        assert again.agent == one.agent
        assert again.token > one.token
    with pytest.raises(Busy, match="it has none that fits"):
        await pool.reserve(["gpu"], wait=0)
    with pytest.raises(InvalidKey):
        await pool.register("A")


async def pool_hands_on_in_the_order_of_asking(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(2)]
    await register(kit, stores[0], ("a", (), 0))
    first = await kit.Pool(stores[0], "p").reserve()
    order: list[str] = []

    async def ask(name: str, priority: int) -> None:
        async with await kit.Pool(stores[len(order) % 2], "p").reserve(priority=priority):
            order.append(name)

    for n, (name, priority) in enumerate((("x", 0), ("y", 0), ("urgent", 5), ("z", 0))):
        world.start(ask(name, priority))
        await world.until(partial(queued, stores[0], n + 1))
    await first.release()
    await world.until(lambda: len(order) == 4)
    assert order == ["urgent", "x", "y", "z"]


async def pool_lets_nobody_who_fits_nothing_hold_up_the_others(world: World, kit: Kit) -> None:
    store = await world.open()
    await register(kit, store, ("small", ("python",), 1), ("big", ("python", "gpu"), 3))
    pool = kit.Pool(store, "p")
    big = await pool.reserve(["gpu"])
    hard = world.start(pool.reserve(complexity=2))
    await world.until(lambda: queued(store, 1))
    easy = await world.soon(pool.reserve(["python"], complexity=1, wait=5))
    assert (big.agent, easy.agent) == ("big", "small")
    await easy.release()
    await world.pause(0.02)
    assert not hard.done(), "a free agent that is not up to it is no answer"
    await big.release()
    assert (await world.soon(hard)).agent == "big"


async def pool_takes_the_least_that_is_enough(world: World, kit: Kit) -> None:
    store = await world.open()
    await register(kit, store, ("a", ("python", "gpu"), 3), ("b", ("python",), 3), ("c", ("python",), 1))
    pool = kit.Pool(store, "p")
    got = [(await pool.reserve(["python"], wait=0)).agent for _ in range(3)]
    assert got == ["c", "b", "a"]


async def pool_never_has_two_holders_of_one_agent(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(3)]
    await register(kit, stores[0], ("a", (), 0), ("b", (), 0))
    held: dict[str, int] = {"a": 0, "b": 0}
    twice: list[str] = []

    async def ask(n: int) -> None:
        async with await kit.Pool(stores[n % 3], "p").reserve() as one:
            held[one.agent] += 1
            if held[one.agent] > 1:
                twice.append(one.agent)
            for _ in range(4):
                await asyncio.sleep(0)
            held[one.agent] -= 1

    await world.soon(asyncio.gather(*(ask(n) for n in range(12))))
    assert not twice
    assert (await kit.Pool(stores[0], "p").view()).holders == {}


async def pool_takes_back_what_a_dead_holder_had(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    await register(kit, store, ("a", (), 0))
    dead = await kit.Pool(store, "p", ttl=2, cancel_body=False).reserve()
    waiting = world.start(kit.Pool(other, "p").reserve())
    await world.until(lambda: queued(store, 1))
    await world.lose(dead)
    held = await world.soon(waiting)
    assert held.agent == "a"
    await dead.release()
    assert (await kit.Pool(store, "p").view()).agents["a"].holder is not None, "the dead one's release is nobody's"


async def pool_gives_back_after_an_error(world: World, kit: Kit) -> None:
    store = await world.open()
    await register(kit, store, ("a", (), 0))
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            async with await kit.Pool(store, "p").reserve(wait=0):
                _ = 1 // 0


async def pool_does_not_give_away_who_has_gone(world: World, kit: Kit) -> None:
    store = await world.open()
    (registered,) = await register(kit, store, ("a", (), 0))
    held = await kit.Pool(store, "p").reserve()
    waiting = world.start(kit.Pool(store, "p").reserve())
    await world.until(lambda: queued(store, 1))
    await registered.release()
    await held.release()
    await world.pause(0.02)
    assert not waiting.done()
    await register(kit, store, ("b", (), 0))
    assert (await world.soon(waiting)).agent == "b"
    assert list((await kit.Pool(store, "p").view()).used) == ["b"], "nothing is kept of an agent that has gone"


async def pool_leaves_nothing_when_cancelled_at_any_moment(world: World, kit: Kit) -> None:
    store = await world.open()
    await register(kit, store, ("a", (), 0))
    await nothing_stays(world, lambda at, lease: kit.Pool(at, "p", lease=lease).reserve(), "@pool/p/slots")
    held = await kit.Pool(store, "p").reserve()
    await nothing_stays(world, lambda at, lease: kit.Pool(at, "p", lease=lease).reserve(), "@pool/p/queue")
    await held.release()
    assert (await kit.Pool(store, "p").view()).holders == {}


async def pool_leaks_no_agent_handed_to_who_is_cancelled(world: World, kit: Kit) -> None:
    store = await world.open()
    await register(kit, store, ("a", (), 0))
    for turns in range(0, 30, 1 if world.clock else 4):
        lease = await store.grant(60)
        held = await kit.Pool(store, "p").reserve(wait=0)
        waiting = world.start(kit.Pool(store, "p", lease=lease).reserve())
        await world.until(lambda: queued(store, 1))
        freed = world.start(held.release())
        for _ in range(turns):
            await asyncio.sleep(0 if world.clock else 0.0002)
        waiting.cancel()
        await asyncio.gather(waiting, freed, return_exceptions=True)
        if not waiting.cancelled():
            await waiting.result().release()
        assert (await kit.Pool(store, "p").view()).holders == {}, f"cancelled {turns} turns after the release"
        assert await queued(store, 0)


async def pool_tells_what_happens_and_how_much_each_was_used(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    seen: list[tuple[str, str, str]] = []

    events = kit.Pool(other, "p").events()
    world.start(collect(events, seen, lambda event: (event.kind, event.agent, event.owner)))
    (registered,) = await register(kit, store, ("a", (), 0))
    await world.until(lambda: seen == [("available", "a", "")])
    held = await kit.Pool(store, "p", owner="one").reserve()
    waiting = world.start(kit.Pool(store, "p", owner="two").reserve())
    await world.until(lambda: queued(store, 1))
    await world.pause(0.2)
    await held.release()
    await (await world.soon(waiting)).release()
    await registered.release()
    await world.until(lambda: ("gone", "a", "") in seen)
    assert [one for one in seen if one[0] in ("busy", "waiting")] == [
        ("busy", "a", "one"),
        ("waiting", "", "two"),
        ("busy", "a", "two"),
    ]
    await register(kit, store, ("a", (), 0))
    async with await kit.Pool(store, "p", owner="three").reserve():
        await world.pause(0.2)
    agent = (await kit.Pool(store, "p").view()).agents["a"]
    assert agent.reserved == 1
    assert agent.busy >= 0.19
    assert 0 < agent.utilisation(agent.since + 2 * agent.busy) <= 0.51


class Counting:
    """A store of which the requests of a pool are counted."""

    def __init__(self, store: Any) -> None:
        self.store, self.requests = store, 0

    def __getattr__(self, name: str) -> Any:
        self.requests += name in {"list", "transact", "watch"}
        return getattr(self.store, name)


async def alone(world: World, kit: Kit, *agents: tuple[str, tuple[str, ...], int]) -> tuple[Any, Counting]:
    """Return a pool whose user has found twice that nobody else uses it."""
    store = Counting(await world.open())
    await register(kit, store, *agents)
    pool = kit.Pool(store, "p")
    for _ in range(2):
        await (await pool.reserve(wait=0)).release()
    return pool, store


async def pool_is_not_looked_at_by_who_is_alone_there(world: World, kit: Kit) -> None:
    pool, store = await alone(world, kit, ("a", (), 0), ("b", (), 0))
    store.requests = 0
    names = set()
    for _ in range(4):
        async with await pool.reserve(wait=0) as held:
            names.add(held.agent)
    assert store.requests == 8, "a transaction to reserve, one to release"
    assert names == {"a", "b"}
    assert sorted(agent.reserved for agent in (await pool.view()).agents.values()) == [3, 3]


async def pool_is_looked_at_again_when_others_come(world: World, kit: Kit) -> None:
    pool, store = await alone(world, kit, ("a", (), 0))
    other = kit.Pool(await world.open(), "p")
    for _ in range(3):
        await (await other.reserve(wait=0)).release()
        store.requests = 0
        await (await pool.reserve(wait=0)).release()
    assert store.requests == 3, "who is not alone looks first, and is not refused"
    held = await other.reserve(wait=0)
    with pytest.raises(Busy, match="limit 1/1 reached"):
        await pool.reserve(wait=0)
    await held.release()


async def pool_is_not_taken_past_who_got_in_line_unseen(world: World, kit: Kit) -> None:
    pool, store = await alone(world, kit, ("a", (), 0))
    async with await store.grant(60) as lease:
        # Somebody has asked and was stopped before it could take what is its own.
        stopped = kit.Pool(await world.open(), "p", lease=lease)
        await stopped._arrive(Put("@pool/p/queue/0", Request(owner="stopped").to_json(), lease))
        with pytest.raises(Busy):
            await pool.reserve(wait=0)
    assert (await pool.reserve(wait=0)).agent == "a"


async def pool_takes_the_least_that_is_enough_of_who_came_or_was_freed_unseen(world: World, kit: Kit) -> None:
    store = await world.open()
    await register(kit, store, ("middle", (), 2))
    held = await kit.Pool(store, "p").reserve(wait=0)
    pool, _ = await alone(world, kit, ("big", (), 3))
    await held.release()
    for _ in range(3):
        async with await pool.reserve(wait=0) as one:
            assert one.agent == "middle", "it was held when the pool was looked at"
    await register(kit, store, ("small", (), 1))
    assert (await pool.reserve(wait=0)).agent == "small", "it was not there when the pool was looked at"


async def pool_remembers_although_who_came_last_has_gone_and_leaves_nothing(world: World, kit: Kit) -> None:
    pool, store = await alone(world, kit, ("a", (), 0))
    async with await store.grant(60) as lease:
        gone = await kit.Pool(store, "p", lease=lease).register("b")
        await gone.release()
    for _ in range(2):
        await (await pool.reserve(wait=0)).release()
    store.requests = 0
    await (await pool.reserve(wait=0)).release()
    assert store.requests == 2
    async with await store.grant(60) as other, await store.grant(60) as last:
        stopped = kit.Pool(store, "p", lease=other)
        await stopped._arrive(Put("@pool/p/queue/0", Request(owner="stopped").to_json(), other))
        await stopped._arrive(Put("@pool/p/queue/1", Request(owner="gone").to_json(), last))
        await last.revoke()
        with pytest.raises(Busy):
            await pool.reserve(wait=0)
    pool = kit.Pool(store, "q")
    registered = await pool.register("a")
    await (await pool.reserve(wait=0)).release()
    await registered.release()
    assert not (await store.list("@pool/q")).entries


async def pool_gives_each_of_many_requests_at_once_another(world: World, kit: Kit) -> None:
    names = "abcdefgh"
    pool, store = await alone(world, kit, *((name, (), 0) for name in names))
    for _ in range(3):
        store.requests = 0
        held = await asyncio.gather(*(pool.reserve(wait=0) for _ in names))
        assert sorted(one.agent for one in held) == list(names)
        await asyncio.gather(*(one.release() for one in held))
    assert store.requests == 2 * len(names)
    assert not pool.statistics().get("overtaken")
    answers = await asyncio.gather(*(pool.reserve(wait=0) for _ in range(9)), return_exceptions=True)
    assert [type(one) for one in answers if isinstance(one, BaseException)] == [Busy], "eight of eight, one gets none"


POOL = [value for name, value in list(globals().items()) if name.startswith("pool_")]
