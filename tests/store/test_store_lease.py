"""A lease as its holder sees it, to the second, on virtual time."""

from __future__ import annotations

import asyncio

import pytest

from coordstore.errors import LeaseLost, Unavailable
from coordstore.store import Lease
from coordstore.testing import Clock, MemoryStore

pytestmark = pytest.mark.req("S9")


class Line:
    """A connection that can be cut: renewals reach the store after a while, or not at all."""

    def __init__(self, store: MemoryStore, clock: Clock) -> None:
        self.cut = False
        self.delay = 0.0
        self.renewals: list[float] = []
        self._store, self._clock = store, clock

    async def lease_renew(self, lease: int) -> None:
        await self._clock.sleep(self.delay)
        if self.cut:
            message = "the line is cut"
            raise Unavailable(message)
        self.renewals.append(self._clock.now())
        await self._store.lease_renew(lease)

    async def lease_revoke(self, lease: int) -> None:
        await self._clock.sleep(self.delay)
        if self.cut:
            message = "the line is cut"
            raise Unavailable(message)
        await self._store.lease_revoke(lease)


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def line(clock: Clock) -> Line:
    return Line(MemoryStore(clock=clock), clock)


@pytest.fixture
async def lease(line: Line, clock: Clock) -> Lease:
    granted = await line._store.grant(9)
    return Lease(granted.id, 9, clock.now(), line, clock)


async def test_it_is_lost_exactly_at_its_deadline(lease: Lease, clock: Clock) -> None:
    assert lease.deadline == 9
    await clock.advance(8.999)
    assert not lease.lost
    await clock.advance(0.001)
    assert lease.lost


async def test_a_renewal_counts_from_when_it_was_sent(lease: Lease, line: Line, clock: Clock) -> None:
    line.delay = 3
    renewing = asyncio.ensure_future(lease.renew())
    await clock.advance(3)
    await renewing
    assert lease.deadline == 0 + 9
    renewing = asyncio.ensure_future(lease.renew())
    await clock.advance(3)
    await renewing
    assert lease.deadline == 3 + 9


async def test_an_unanswered_renewal_leaves_the_deadline(lease: Lease, line: Line, clock: Clock) -> None:
    await clock.advance(4)
    line.cut = True
    with pytest.raises(Unavailable):
        await lease.renew()
    assert (lease.deadline, lease.lost) == (9, False)


async def test_an_answer_behind_the_deadline_does_not_bring_it_back(lease: Lease, line: Line, clock: Clock) -> None:
    await clock.advance(8)
    line.delay = 2
    renewing = asyncio.ensure_future(lease.renew())
    await clock.advance(1)
    assert lease.lost
    await clock.advance(1)
    with pytest.raises(LeaseLost):
        await renewing
    assert lease.lost


async def test_wait_lost_returns_at_the_moment_also_when_renewed_meanwhile(lease: Lease, clock: Clock) -> None:
    waiting = asyncio.ensure_future(lease.wait_lost())
    await clock.advance(5)
    await lease.renew()
    await clock.advance(8.9)
    assert not waiting.done()
    await clock.advance(0.1)
    assert waiting.done()


async def test_async_with_renews_three_times_per_ttl(lease: Lease, line: Line, clock: Clock) -> None:
    async with lease:
        await clock.advance(9.5)
        assert line.renewals == [3, 6, 9]
    await clock.advance(20)
    assert line.renewals == [3, 6, 9]


async def test_behind_a_cut_the_keeper_tries_more_often_and_goes_on(lease: Lease, line: Line, clock: Clock) -> None:
    async with lease:
        line.cut = True
        await clock.advance(6.1)
        line.cut = False
        await clock.advance(0.9)
        assert len(line.renewals) >= 1
        await clock.advance(20)
        assert not lease.lost


async def test_cut_off_the_holder_knows_before_the_store_ends_it(lease: Lease, line: Line, clock: Clock) -> None:
    await line._store.put("a", b"", lease=lease.id)
    async with lease:
        await clock.advance(3.5)
        line.cut = True
        lost_at = asyncio.ensure_future(_moment(lease, clock))
        gone_at = asyncio.ensure_future(_gone(line._store, clock))
        await clock.advance(20)
        assert await lost_at <= await gone_at == 12


async def test_leaving_behind_a_cut_line_raises_nothing_and_is_lost(lease: Lease, line: Line) -> None:
    async with lease:
        line.cut = True
    assert lease.lost


async def test_what_the_body_raises_goes_through(lease: Lease) -> None:
    async def fail() -> None:
        async with lease:
            raise KeyError("mine")  # noqa: EM101  (a test)

    with pytest.raises(KeyError, match="mine"):
        await fail()


async def _moment(lease: Lease, clock: Clock) -> float:
    await lease.wait_lost()
    return clock.now()


async def _gone(store: MemoryStore, clock: Clock) -> float:
    async for batch in store.watch("a"):
        if not batch.reset:
            return clock.now()
    raise AssertionError


async def test_a_lost_one_is_left_to_its_ttl_and_nobody_waits_for_a_store_that_is_away(
    lease: Lease, line: Line, clock: Clock
) -> None:
    line.delay = 1000
    async with lease:
        await clock.advance(10)
        assert lease.lost
    assert clock.now() == 10
