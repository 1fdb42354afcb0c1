"""Checks of the mailbox."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Fenced, InvalidArgument, InvalidKey, LeaseLost
from coordstore.recipes.mailbox import Retries

if TYPE_CHECKING:
    from tests.recipes.world import Kit, World

__all__ = ["MAIL"]

SOON = Retries(attempts=3, base=10.0, most=25.0, jitter=0.0)


def box(world: World, kit: Kit, store: Any, me: str, **options: Any) -> Any:
    return kit.Mailbox(store, "s1", me, wall=world.wall, **{"retries": SOON, **options})


async def mail_waits_for_its_owner(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    boss = box(world, kit, store, "orchestrator")
    sent = await boss.send("t1", {"stop": True})
    await boss.send("t2", "not for t1")
    async with box(world, kit, other, "t1").inbox() as inbox:
        message = await world.soon(inbox.receive())
        assert (message.id, message.sender, message.body, message.attempts) == (sent, "orchestrator", {"stop": True}, 1)
        await message.ack()
        assert await inbox.receive(wait=0) is None
        assert "out=0" in repr(inbox)
    async with box(world, kit, other, "orchestrator").inbox() as inbox:
        waiting = world.start(inbox.receive())
        await world.pause(0.02)
        await box(world, kit, store, "t1", routes={"parent": "orchestrator"}).send("parent", [1])
        assert (await world.soon(waiting)).body == [1]
    for wrong in ("A", "a/b", ""):
        with pytest.raises(InvalidKey):
            await boss.send(wrong, "")
    assert boss.statistics()["sent"] == 2


async def mail_comes_in_the_order_of_sending(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    sender = box(world, kit, store, "a")
    await sender.send("me", 0)
    await sender.send_many("me", list(range(1, 150)))
    got = []
    async with box(world, kit, other, "me").inbox(prefetch=7) as inbox:
        while (message := await inbox.receive(wait=0)) is not None:
            async with message:
                got.append(message.body)
    assert got == list(range(150))


async def mail_keeps_the_order_of_a_sender_when_one_has_to_wait(world: World, kit: Kit) -> None:
    store, other, third = [await world.open() for _ in range(3)]
    a, b = box(world, kit, store, "a"), box(world, kit, store, "b")
    for n in range(3):
        await a.send("me", f"a{n}")
    world.shifted += 1
    await b.send("me", "b0")
    async with (
        box(world, kit, other, "me").inbox(prefetch=2) as one,
        box(world, kit, third, "me").inbox() as two,
    ):
        first = await one.receive(wait=0)
        got = await two.receive(wait=0)
        assert (first.body, got.body) == ("a0", "b0"), "what comes behind a message under way waits for it"
        await got.ack()
        await first.nack("not now")
        assert await one.receive(wait=0) is None
        assert await two.receive(wait=0) is None
        world.shifted += 11
        bodies = []
        while (message := await two.receive(wait=0)) is not None:
            bodies.append((message.body, message.attempts))
            await message.ack()
        assert bodies == [("a0", 2), ("a1", 1), ("a2", 1)]


async def mail_that_was_refused_is_fetched_alone_of_its_sender(world: World, kit: Kit) -> None:
    store = await world.open()
    sender, other = box(world, kit, store, "a"), box(world, kit, store, "b")
    await sender.send_many("me", ["hard", "a1", "a2"])
    world.shifted += 1
    await other.send("me", "b0")

    async def claimed() -> int:
        return sum(entry.key.endswith("/claim") for entry in (await store.list("s1/mail/me/")).entries)

    async with box(world, kit, store, "me").inbox(prefetch=4) as inbox:
        message = await inbox.receive(wait=0)
        assert (message.body, await claimed()) == ("hard", 4)
        await message.nack("not now", delay=0)
        assert ((await inbox.receive(wait=0)).body, await claimed()) == ("b0", 1)
        again = await inbox.receive(wait=0)
        assert (again.body, await claimed()) == ("hard", 2), "refused again, nothing fetched behind it has to go back"
        await again.ack()
        assert ((await inbox.receive(wait=0)).body, await claimed()) == ("a1", 3)


async def mail_is_tried_again_and_then_dead(world: World, kit: Kit) -> None:
    store = await world.open()
    mail = box(world, kit, store, "me")
    sent = await mail.send("me", "hard")
    waits = []
    async with mail.inbox() as inbox:
        for _ in range(3):
            async with await world.soon(inbox.receive(wait=0)) as message:
                with pytest.raises(ZeroDivisionError):
                    _ = 1 // 0
                await message.nack("cannot")
            entry = await store.get(f"s1/mail/me/{sent}")
            assert entry is not None
            waits.append(_due(entry.value) - world.wall())
            world.shifted += waits[-1] + 0.1
        assert await inbox.receive(wait=0) is None
    assert waits == pytest.approx([10, 20, 25])
    (dead,) = await mail.dead_letters()
    assert (dead.id, dead.reason) == (sent, "given up after 3 deliveries: cannot")
    assert (await mail.depth()).dead == 1
    assert await mail.redrive() == 1
    async with mail.inbox() as inbox:
        again = await inbox.receive(wait=0)
        assert (again.body, again.attempts, again.id) == ("hard", 1, sent)
        await again.ack()
    assert (await mail.depth()).dead == 0
    assert mail.statistics()["dead"] == 1


def _due(value: bytes) -> float:
    import json

    return float(json.loads(value)["due"])


async def mail_given_back_by_an_error_says_which(world: World, kit: Kit) -> None:
    store = await world.open()
    mail = box(world, kit, store, "me", retries=Retries(attempts=1))
    await mail.send("me", "hard")
    async with mail.inbox() as inbox:
        with pytest.raises(ZeroDivisionError):
            async with await world.soon(inbox.receive(wait=0)):
                _ = 1 // 0
        world.shifted += 10
        assert await inbox.receive(wait=0) is None
    (dead,) = await mail.dead_letters()
    assert "ZeroDivisionError" in dead.reason


async def mail_expires(world: World, kit: Kit) -> None:
    store = await world.open()
    mail = box(world, kit, store, "me")
    await mail.send("me", "short", ttl=5)
    await mail.send("me", "long")
    world.shifted += 6
    async with mail.inbox() as inbox:
        assert (await inbox.receive(wait=0)).body == "long"
        (dead,) = await mail.dead_letters()
        assert dead.reason.startswith("expired")


async def mail_of_a_dead_receiver_goes_to_the_next(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    mail = box(world, kit, store, "me")
    await mail.send("me", "precious")
    inbox = await mail.inbox(ttl=2).__aenter__()
    message = await inbox.receive(wait=0)
    async with box(world, kit, other, "me").inbox() as second:
        assert await second.receive(wait=0) is None, "it is claimed"
        waiting = world.start(second.receive())
        await world.lose(message)
        again = await world.soon(waiting)
        assert (again.body, again.attempts) == ("precious", 2)
        with pytest.raises(Fenced):
            await message.ack()
        with pytest.raises(Fenced):
            await store.put("x", b"", fence=message.fence)
        with pytest.raises(LeaseLost):
            await inbox.receive(wait=0)
        assert (await mail.depth()).claimed == 1
        await again.ack()
    assert inbox.lost
    await inbox.__aexit__(None, None, None)


async def mail_not_acknowledged_in_time_is_given_back(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    mail = box(world, kit, store, "me")
    await mail.send("me", "slow")
    ended = asyncio.Event()
    async with mail.inbox(visibility=0.2) as inbox, box(world, kit, other, "me").inbox() as second:
        message = await inbox.receive(wait=0)

        async def body() -> None:
            async with message:
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.set()

        task = world.start(body())
        await world.until(task.done)
        with pytest.raises(LeaseLost):
            await task
        assert ended.is_set()
        with pytest.raises(Fenced):
            await message.ack()
        await world.until(lambda: _none_claimed(mail))
        world.shifted += 11
        again = await world.soon(second.receive())
        assert again.attempts == 2
        again.extend(60)
        await again.ack()


async def _none_claimed(mail: Any) -> bool:
    return not (await mail.depth()).claimed


async def mail_sent_twice_under_one_id_is_there_once(world: World, kit: Kit) -> None:
    store = await world.open()
    mail = box(world, kit, store, "me")
    one = mail.new_id()
    assert await mail.send("me", "x", message_id=one) == one
    assert await mail.send("me", "x", message_id=one) == one
    assert (await mail.depth()).waiting == 1


async def mail_shows_how_much_lies_there(world: World, kit: Kit) -> None:
    store = await world.open()
    mail = box(world, kit, store, "me")
    for sender in "abc":
        await box(world, kit, store, sender).send("me", sender)
    world.shifted += 7
    async with mail.inbox() as inbox:
        await (await inbox.receive(wait=0)).nack()
        await inbox.receive(wait=0)
        depth = await box(world, kit, store, "x").depth("me")
        assert (depth.waiting, depth.claimed, depth.delayed, depth.dead) == (1, 1, 1, 0)
        assert depth.oldest == pytest.approx(7)
    depth = await mail.depth()
    assert (depth.waiting, depth.claimed) == (2, 0), "who closes its inbox gives back"


async def mail_is_not_lost_to_a_cancelled_receiver(world: World, kit: Kit) -> None:
    store = await world.open()
    mail = box(world, kit, store, "me")
    await mail.send_many("me", list(range(6)))
    async with mail.inbox() as inbox:
        got = []
        for turns in range(14):
            task = asyncio.ensure_future(inbox.receive(wait=0))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            if not task.cancelled():
                got.append(task.result())
                assert got[0] is not None, f"cancelled after {turns} turns: what was fetched is lost"
                break
        for message in got:
            await message.ack()
        while (message := await inbox.receive(wait=0)) is not None:
            got.append(message)
            await message.ack()
    assert [message.body for message in got] == list(range(6))
    assert {message.attempts for message in got} == {1}


async def mail_is_shared_among_receivers(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(3)]
    total = 30
    for sender in "abcde":
        await box(world, kit, stores[0], sender).send_many("me", [f"{sender}{n}" for n in range(total // 5)])
    got: list[str] = []

    async def work(n: int) -> None:
        async with box(world, kit, stores[n], "me").inbox(prefetch=2) as inbox:
            while len(got) < total:
                message = await inbox.receive(wait=0.05)
                if message is not None:
                    got.append(message.body)
                    await message.ack()

    tasks = [world.start(work(n)) for n in range(3)]
    await world.until(lambda: all(task.done() for task in tasks))
    await asyncio.gather(*tasks)
    assert sorted(got) == sorted(f"{sender}{n}" for sender in "abcde" for n in range(6)), "each once"
    for sender in "abcde":
        assert [body for body in got if body[0] == sender] == [f"{sender}{n}" for n in range(6)]
    with pytest.raises(InvalidArgument):
        box(world, kit, stores[0], "me").inbox(prefetch=33)


MAIL = [value for name, value in list(globals().items()) if name.startswith("mail_")]
