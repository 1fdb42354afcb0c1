"""The watcher reads streams and writes verdicts, through the store alone: once each, fenced, and not of the ended."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Fenced, OutcomeUnknown, Unavailable
from coordstore.model import Check
from coordstore.recipes import Mailbox
from coordstore.session import State, events
from coordstore.session.session import Session
from coordstore.testing import Clock, MemoryStore
from coordstore_orchestrator.monitor import watch
from coordstore_orchestrator.monitor.watch import Watcher

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coordstore.model import Committed, Transaction
    from coordstore.session.claim import Claim

CALL = (events.Step(step=1), events.ToolCall(name="bash", digest="d", summary="ls"))


class Scene:
    """A session with one attempt that runs, and whoever leads it."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.session = Session(store, "s1")
        self.claim: Claim

    async def begin(self, **thresholds: float) -> None:
        await self.session.create({"digest": "d"}, {"a": {"writes": ["x"]}})
        await self.lead()
        await self.session.assign((await self.session.view()).tasks["a"], "c0")
        self.claim = await self.session.claim("a.1", (), {"pid": 1}, await self.store.grant(60))
        await self.claim.report(events.Watching(profile="p", thresholds=thresholds))

    async def lead(self) -> None:
        await self.store.delete(self.session.keys.leader)
        token = await self.store.create(self.session.keys.leader, b"{}")
        self.fence = Check(self.session.keys.leader, create_revision=token)

    async def verdicts(self) -> list[tuple[str, str]]:
        records = await self.store.read("s1/events/a.1")
        found = [events.decode(record.data) for record in records]
        return [(each.detector, each.action) for each in found if isinstance(each, events.Verdict)]

    async def until(self, count: int) -> None:
        async with asyncio.timeout(30):
            while len(await self.verdicts()) < count:  # noqa: ASYNC110  (what is waited for lies in a stream)
                await asyncio.sleep(0)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(Watcher(self.session, self.fence).run())
        try:
            yield task
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError, Fenced):
                await task


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with MemoryStore(clock=Clock()) as store:
        yield Scene(store)


@pytest.mark.req("M4", "M11", "R7")
async def test_a_hint_goes_to_the_mailbox_and_a_stop_to_the_worker(scene: Scene) -> None:
    await scene.begin()
    async with scene.watched():
        for _ in range(7):
            await scene.claim.report(*CALL)
        await scene.until(3)
    found = await scene.verdicts()
    assert sorted(found) == [("nudge", "hint"), ("repeats", "hint"), ("repeats", "stop")]
    verdict = (await scene.session.view()).tasks["a"].attempts[0].json("verdict")
    assert verdict["code"] == "repeats"
    assert verdict["evidence"]["times"] == 6
    assert (await Mailbox(scene.store, "s1", "a.1").depth()).waiting == 2


@pytest.mark.req("M12")
async def test_who_takes_over_writes_what_is_missing_and_nothing_twice(scene: Scene) -> None:
    await scene.begin(nudge=0)
    async with scene.watched():
        for _ in range(3):
            await scene.claim.report(*CALL)
        await scene.until(1)
    for _ in range(3):
        await scene.claim.report(*CALL)
    await scene.lead()
    async with scene.watched():
        await scene.until(2)
    await scene.lead()
    async with scene.watched():
        await scene.claim.report(events.Error(text="e"))
        await asyncio.sleep(0)
    assert await scene.verdicts() == [("repeats", "hint"), ("repeats", "stop")]


@pytest.mark.req("M12", "S9")
async def test_one_that_no_longer_leads_writes_nothing(scene: Scene) -> None:
    await scene.begin(nudge=0)
    old = scene.fence
    await scene.lead()
    scene.fence = old
    async with scene.watched() as task:
        for _ in range(3):
            await scene.claim.report(*CALL)
        with pytest.raises(Fenced):
            await asyncio.wait_for(task, 30)
    assert await scene.verdicts() == []


@pytest.mark.req("M1")
async def test_one_that_has_ended_is_let_be(scene: Scene) -> None:
    await scene.begin(nudge=0)
    for _ in range(6):
        await scene.claim.report(*CALL)
    await scene.claim.finish(State.COMPLETED, {})
    async with scene.watched():
        await scene.store.append("s1/events/session", [events.encode(events.Note(text="n"))])
        for _ in range(50):
            await asyncio.sleep(0)
    assert await scene.verdicts() == []


@pytest.mark.req("M11")
async def test_another_profile_is_watched_anew_with_its_own_thresholds(scene: Scene) -> None:
    await scene.begin(nudge=0, repeats=2)
    await scene.claim.report(*CALL)
    await scene.claim.report(events.Watching(profile="q", thresholds={"nudge": 0, "repeats": 2}))
    async with scene.watched():
        await scene.claim.report(*CALL)
        await scene.claim.report(*CALL)
        await scene.until(1)
    assert await scene.verdicts() == [("repeats", "hint")]


@pytest.mark.req("M12", "S9")
@pytest.mark.parametrize("fault", [Unavailable, OutcomeUnknown])
async def test_an_outage_is_waited_out_and_nothing_is_told_twice(
    scene: Scene, fault: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the writes in doubt were applied or not."""
    await scene.begin(nudge=0)
    whole, faults = scene.store.do_transact, [fault, fault]

    async def shaky(txn: Transaction) -> Committed:
        if faults and b'"verdict"' in b"".join(append.data for append in txn.appends):
            raise faults.pop()(await whole(txn) if fault is OutcomeUnknown else "away")
        return await whole(txn)

    monkeypatch.setattr(watch, "PAUSE", 0)
    monkeypatch.setattr(scene.store, "do_transact", shaky)
    async with scene.watched():
        for _ in range(6):
            await scene.claim.report(*CALL)
        await scene.until(2)
    assert await scene.verdicts() == [("repeats", "hint"), ("repeats", "stop")]
    assert not faults


@pytest.mark.parametrize("bug", ["twice", "unfenced"])
async def test_a_planted_bug_is_caught(scene: Scene, bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug == "twice":
        monkeypatch.setattr(watch.Watched, "_stands", lambda _self, _name: None)
        caught: Any = test_who_takes_over_writes_what_is_missing_and_nothing_twice(scene)
    else:
        whole = Watcher.__init__
        none: Any = None
        monkeypatch.setattr(Watcher, "__init__", lambda self, session, _fence: whole(self, session, none))
        caught = asyncio.wait_for(test_one_that_no_longer_leads_writes_nothing(scene), 2)
    with pytest.raises((AssertionError, TimeoutError)):
        await caught
