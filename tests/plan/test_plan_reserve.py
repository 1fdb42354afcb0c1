"""Two sessions on one repository, on any backend: of what both would write only one has it, and the other is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Busy, Fenced
from coordstore.model import Check
from coordstore_orchestrator.plan import PlanError, reserve
from coordstore_orchestrator.plan.reserve import Reservations, ScopesTaken
from tests.recipes.world import WORLDS, World, on_etcd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from coordstore.store import Lease

pytestmark = pytest.mark.req("P2", "S2", "S9")
LONG = 3600


@pytest.fixture(params=[*WORLDS, "etcd"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = on_etcd(request.getfixturevalue("etcd_url")) if request.param == "etcd" else WORLDS[request.param](tmp_path)
    yield made
    await made.close()


async def party(world: World, **how: Any) -> tuple[Reservations, Lease]:
    """Return the reservations as one host sees them, and its lease."""
    store = await world.open()
    return Reservations(store, "r1", **how), await store.grant(LONG)


async def test_the_second_is_told_session_task_and_paths(world: World) -> None:
    (one, first), (two, second) = await party(world), await party(world)
    assert await one.reserve("s1", {"api": ["src/api"], "look": []}, first) == "@repo/r1/scopes/s1"
    with pytest.raises(ScopesTaken) as caught:
        await two.reserve("s2", {"docs": ["docs"], "all": ["src/**/*.py"]}, second)
    told = str(caught.value)
    assert "task all writes 'src/api/x.py' (by 'src/**/*.py')" in told
    assert "task api of session s1" in told
    assert "(by 'src/api')" in told
    assert "coord run --wait" in told
    assert isinstance(caught.value, Busy)
    assert await two.reserve("s3", {"docs": ["docs"]}, second)
    assert await two.held() == {"s1": {"api": ["src/api"]}, "s3": {"docs": ["docs"]}}
    assert await two.reserve("s4", {"look": []}, second) is None


async def test_a_session_takes_its_own_place_again(world: World) -> None:
    reservations, lease = await party(world)
    await reservations.reserve("s1", {"t": ["a", "b"]}, lease)
    await reservations.reserve("s1", {"t": ["b"]}, lease)
    await reservations.reserve("s2", {"t": ["a"]}, lease)
    assert await reservations.release("s1")
    assert not await reservations.release("s1")
    await reservations.reserve("s2", {"t": ["b"]}, lease)


async def test_the_end_of_the_lease_is_the_end_of_the_reservation(world: World) -> None:
    (one, first), (two, second) = await party(world), await party(world)
    await one.reserve("s1", {"t": ["a"]}, first)
    waiting = asyncio.ensure_future(two.reserve("s2", {"t": ["a"]}, second, wait=None))
    await world.pause(0.1)
    assert not waiting.done()
    await first.revoke()
    await until_done(world, waiting)
    assert list(await one.held()) == ["s2"]


async def test_who_waits_in_vain_is_told_whom_it_waited_for(world: World) -> None:
    (one, first), (two, second) = await party(world), await party(world)
    await one.reserve("s1", {"t": ["a"]}, first)
    waiting = asyncio.ensure_future(two.reserve("s2", {"t": ["a"]}, second, wait=0.2))
    with pytest.raises(ScopesTaken, match="session s1"):
        await until_done(world, waiting)


async def test_of_many_at_once_one_has_it(world: World) -> None:
    parties = [await party(world) for _ in range(6)]
    tries = [each.reserve(f"s{n}", {"t": ["a"]}, lease) for n, (each, lease) in enumerate(parties)]
    made = asyncio.gather(*tries, return_exceptions=True)
    await until_done(world, made)
    assert [type(each) for each in made.result()].count(str) == 1
    assert len(await parties[0][0].held()) == 1


async def test_a_replaced_leader_reserves_nothing(world: World) -> None:
    reservations, lease = await party(world)
    with pytest.raises(Fenced):
        await reservations.reserve("s1", {"t": ["a"]}, lease, fence=Check("s1/leader", create_revision=5))
    assert not await reservations.held()


async def test_the_dead_hold_nothing(world: World) -> None:
    one, first = await party(world)
    two, second = await party(world, is_dead=lambda holder: holder == {"pid": 7})
    await one.reserve("s1", {"t": ["a"]}, first, holder={"pid": 7})
    await two.look("s2", {"t": ["a"]})
    await two.reserve("s2", {"t": ["a"]}, second, holder={"pid": 8})
    with pytest.raises(ScopesTaken, match="session s2"):
        await one.look("s1", {"t": ["a"]})


async def test_more_than_fits_is_refused_with_advice(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reserve, "RECORD_BYTES_MAX", 100)
    reservations, lease = await party(world)
    with pytest.raises(PlanError, match="name folders instead of files"):
        await reservations.reserve("s1", {"t": [f"folder/file{n}" for n in range(20)]}, lease)


async def test_without_the_guard_two_would_have_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plant that shows what `test_of_many_at_once_one_has_it` is good for."""
    monkeypatch.setattr(reserve, "Check", lambda *_given, **_more: Check("never/there", revision=0))
    world = WORLDS["memory"](None)  # type: ignore[arg-type]  # memory has no folder
    with pytest.raises(AssertionError):
        await test_of_many_at_once_one_has_it(world)
    await world.close()


async def until_done(world: World, waiting: asyncio.Future[Any]) -> None:
    async with asyncio.timeout(30):
        while not waiting.done():
            await world.pause(0.05)
        await waiting
