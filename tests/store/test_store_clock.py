"""The virtual clock: it stands still until it is advanced, and wakes sleepers in the order of their time."""

from __future__ import annotations

import asyncio

from coordstore.store import SystemClock
from coordstore.testing import Clock


async def test_it_stands_still_until_advanced() -> None:
    clock = Clock(5.0)
    sleeping = asyncio.ensure_future(clock.sleep(1))
    await asyncio.sleep(0)
    assert (clock.now(), sleeping.done()) == (5.0, False)
    await clock.advance(0.999)
    assert not sleeping.done()
    await clock.advance(0.001)
    assert sleeping.done()


async def test_each_sleeper_wakes_at_its_own_moment_in_order() -> None:
    clock = Clock(0.0)
    seen: list[tuple[str, float]] = []

    async def sleeper(name: str, *pauses: float) -> None:
        for pause in pauses:
            await clock.sleep(pause)
            seen.append((name, clock.now()))

    tasks = [asyncio.ensure_future(sleeper("slow", 3, 3)), asyncio.ensure_future(sleeper("quick", 1, 1, 1))]
    await clock.advance(10)
    await asyncio.gather(*tasks)
    assert seen == [("quick", 1), ("quick", 2), ("slow", 3), ("quick", 3), ("slow", 6)]
    assert clock.now() == 10


async def test_no_time_is_one_turn_of_the_loop() -> None:
    clock = Clock()
    await clock.sleep(0)
    await clock.sleep(-1)
    assert repr(clock) == "<Clock 1000.000 s, 0 asleep>"


async def test_a_cancelled_sleeper_is_passed_over() -> None:
    clock = Clock()
    sleeping = asyncio.ensure_future(clock.sleep(1))
    await asyncio.sleep(0)
    sleeping.cancel()
    await clock.advance(2)
    assert sleeping.cancelled()


async def test_the_systems_clock_goes_on() -> None:
    clock = SystemClock()
    before = clock.now()
    await clock.sleep(0.001)
    assert clock.now() > before
