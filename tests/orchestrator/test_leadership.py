"""One orchestrator leads a session; who was replaced changes nothing, whatever it still believes."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Fenced, LeaseLost
from coordstore.session.session import Session
from coordstore.testing import Clock, MemoryStore
from coordstore.testing.memory import Memory
from coordstore_orchestrator.monitor.leadership import Leadership, LedByOther, lead

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

HERE = {"host": "here", "pid": 4711}


def never(_holder: Mapping[str, Any]) -> bool:
    return False


class Place:
    """A store on virtual time and a handle on it for each process."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.memory = Memory(self.clock)

    def session(self) -> Session:
        return Session(MemoryStore(self.memory), "s1")

    def leader(self) -> bytes | None:
        line = self.memory.state.list("s1/leader/line", None, None, keys_only=False).entries
        found = sorted(line, key=lambda entry: entry.create_revision)
        return found[0].value if found else None


class Leader:
    """A process that leads until it is told to stop, or dies."""

    def __init__(self, place: Place, holder: Mapping[str, Any], is_dead: Callable[[Mapping[str, Any]], bool]) -> None:
        self.session = place.session()
        self.leading: asyncio.Future[Leadership] = asyncio.get_running_loop().create_future()
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self._run(holder, is_dead))

    async def _run(self, holder: Mapping[str, Any], is_dead: Callable[[Mapping[str, Any]], bool]) -> None:
        async with lead(self.session, holder, is_dead) as leadership:
            self.leading.set_result(leadership)
            await self.stop.wait()

    async def die(self) -> None:
        """End as kill -9 does: nothing is revoked."""
        await self.session.store.aclose()
        self.task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self.task


async def all_but_one(leaders: Sequence[Leader]) -> None:
    """Wait until all but one were refused."""
    pending = {leader.task for leader in leaders}
    while len(pending) > 1:
        _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)


@pytest.mark.req("M12", "S9")
async def test_of_twenty_at_once_one_leads_and_the_others_name_it() -> None:
    place = Place()
    leaders = [Leader(place, {"host": "here", "pid": 100 + number}, never) for number in range(20)]
    await all_but_one(leaders)
    leading = [leader for leader in leaders if leader.leading.done()]
    assert len(leading) == 1
    winner = 100 + leaders.index(leading[0])
    for leader in leaders:
        if leader is not leading[0]:
            with pytest.raises(LedByOther, match=f"process {winner} on here"):
                await leader.task
    leading[0].stop.set()
    await leading[0].task
    assert place.leader() is None
    assert place.memory.leases == {}


def test_the_refusal_has_an_exit_status_of_its_own() -> None:
    assert LedByOther.exit_code == 5


@pytest.mark.req("M12")
async def test_a_leader_that_died_here_is_replaced_at_once() -> None:
    place = Place()
    first = Leader(place, HERE, never)
    await first.leading
    await first.die()
    assert place.leader() is not None
    second = Leader(place, {"host": "here", "pid": 4712}, lambda holder: holder["pid"] == 4711)
    leadership = await second.leading
    assert place.clock.now() == 1000.0
    assert b"4712" in (place.leader() or b"")
    second.stop.set()
    await second.task
    assert leadership.lease.id not in place.memory.leases


@pytest.mark.req("M12", "S9")
async def test_a_leader_elsewhere_is_replaced_only_after_its_lease() -> None:
    place = Place()
    first = Leader(place, {"host": "there", "pid": 4711}, never)
    await first.leading
    await place.clock.advance(25)  # it lives and renews
    await first.die()
    await place.clock.advance(6)
    with pytest.raises(LedByOther, match="process 4711 on there"):
        await Leader(place, HERE, never).task
    await place.clock.advance(4.5)
    second = Leader(place, HERE, never)
    await second.leading
    second.stop.set()
    await second.task


@pytest.mark.req("M12")
async def test_of_many_that_find_a_dead_one_a_single_one_takes_over() -> None:
    place = Place()
    first = Leader(place, HERE, never)
    await first.leading
    await first.die()
    heirs = [Leader(place, {"host": "here", "pid": number}, lambda h: h["pid"] == 4711) for number in range(10)]
    await all_but_one(heirs)
    found = await asyncio.gather(*(heir.task for heir in heirs if heir.task.done()), return_exceptions=True)
    assert all(isinstance(each, LedByOther) for each in found)
    assert sum(heir.leading.done() for heir in heirs) == 1
    for heir in heirs:
        heir.stop.set()
    await asyncio.gather(*(heir.task for heir in heirs), return_exceptions=True)


@pytest.mark.parametrize("value", [b"", b"\xff", b"7", b'["ab"]', b"[" * 100_000, b"{}"])
async def test_a_leader_s_record_that_says_nothing_counts_as_alive(value: bytes) -> None:
    place = Place()
    session = place.session()
    await session.store.put("s1/leader/line/other", value)
    with pytest.raises(LedByOther, match=r"process \? on \?"):
        async with lead(session, HERE, bool):
            pass
    assert place.leader() == value


@pytest.mark.req("S9")
@pytest.mark.parametrize("how", ["dead", "lease"])
async def test_a_replaced_leader_s_writes_are_fenced(how: str) -> None:
    place = Place()
    session = place.session()
    await session.create({"digest": "d"}, {"t1": {}})
    first = Leader(place, HERE, never)
    old = await first.leading
    if how == "lease":
        await first.die()
        await place.clock.advance(11)
        assert old.lease.lost
    second = Leader(place, {"host": "here", "pid": 1}, lambda holder: holder["pid"] == 4711)
    new = await second.leading
    assert (new.fence.create_revision or 0) > (old.fence.create_revision or 0)
    task = (await session.view()).tasks["t1"]
    before = place.memory.state.revision
    for move in (session.assign(task, "c0", fence=old.fence), session.cancel_unstarted(task, "x", fence=old.fence)):
        with pytest.raises(Fenced):
            await move
    assert place.memory.state.revision == before
    await session.assign(task, "c0", fence=new.fence)
    first.stop.set()
    second.stop.set()
    await asyncio.gather(first.task, second.task, return_exceptions=True)


@pytest.mark.req("S9")
async def test_the_end_of_a_replaced_leader_does_not_end_the_new_one() -> None:
    place = Place()
    first = Leader(place, HERE, never)
    await first.leading
    second = Leader(place, {"host": "here", "pid": 1}, lambda holder: holder["pid"] == 4711)
    await second.leading
    first.stop.set()
    await first.task
    assert b'"pid":1' in (place.leader() or b"")
    second.stop.set()
    await second.task


async def test_a_lease_that_ends_before_the_key_is_written_is_said() -> None:
    place = Place()
    session = place.session()
    granting = session.store.grant

    async def short(ttl: int) -> Any:
        lease = await granting(ttl)
        place.memory.end([lease.id])
        return lease

    session.store.grant = short  # type: ignore[method-assign]  # a store that loses the lease at once
    with pytest.raises(LeaseLost):
        async with lead(session, HERE, never):
            pass
