"""Checks of the scratchpad."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Fenced, TooLarge
from coordstore.recipes.scratchpad import Digest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.recipes import Note
    from tests.recipes.world import Kit, World

__all__ = ["PAD"]


def pad(world: World, kit: Kit, store: Any, **options: Any) -> Any:
    return kit.Scratchpad(store, "s1", wall=world.wall, **options)


async def texts(each: Any, **options: Any) -> list[str]:
    return [note.text for note in await each.notes(**options)]


async def pad_keeps_what_was_noted(world: World, kit: Kit) -> None:
    store, other = await world.open(), await world.open()
    mine, theirs = pad(world, kit, store), pad(world, kit, other)
    one = await mine.append("one", tags=["a", "b"])
    world.shifted += 10
    await theirs.append("two", tags=["b"], ttl=5)
    world.shifted += 1
    kept = await theirs.append("three", persistent=True, ttl=1)
    assert await texts(mine) == ["one", "two", "three"]
    assert await texts(mine, tag="b") == ["one", "two"]
    assert await texts(mine, older_than=11) == ["one"]
    assert await mine.size() == 11
    world.shifted += 6
    assert await texts(mine) == ["one", "three"], "an expired one is not shown"
    assert await mine.size() == 11
    assert await theirs.purge() == 1
    assert await mine.size() == 8
    assert await mine.remove(one.id)
    assert not await mine.remove(one.id)
    assert await mine.remove(kept.id)
    assert await texts(mine) == []


async def pad_stays_within_its_bounds(world: World, kit: Kit) -> None:
    store = await world.open()
    mine = pad(world, kit, store)
    await mine.append("kept", persistent=True)
    for n in range(99):
        world.shifted += 1
        await mine.append(f"{n:>1000}")
    assert await mine.size() == 99_004
    world.shifted += 1
    await mine.append("9" * 1000)
    assert await mine.size() < 50_000
    left = await texts(mine)
    assert left[0] == "kept"
    assert left[-1] == "9" * 1000
    assert left[1:-1] == [f"{n:>1000}" for n in range(99 - len(left) + 2, 99)], "the oldest went"


async def pad_lets_a_hook_sum_up_what_is_old(world: World, kit: Kit) -> None:
    store = await world.open()
    asked: list[tuple[int, int]] = []

    async def hook(notes: Sequence[Note], too_many: int) -> Digest:
        asked.append((len(notes), too_many))
        return Digest("in short", [note.id for note in notes])

    mine = pad(world, kit, store, summarise=hook, most=1000, least=500)
    for n in range(6):
        await mine.append(f"{n}" * 100)
    world.shifted += 3601
    await mine.append("k" * 50, persistent=True)
    for n in range(3):
        await mine.append(f"{n}" * 110)
    assert asked == []
    await mine.append("x" * 30)
    assert asked == [(6, 1010 - 500)]
    assert sorted(await texts(mine)) == sorted(["k" * 50, *(f"{n}" * 110 for n in range(3)), "x" * 30, "in short"])
    assert await texts(mine, tag="summary") == ["in short"]


async def pad_gets_by_without_its_hook(world: World, kit: Kit) -> None:
    store = await world.open()

    async def broken(notes: Sequence[Note], too_many: int) -> Digest:
        message = "no model here"
        raise RuntimeError(message)

    async def chatty(notes: Sequence[Note], too_many: int) -> Digest:
        return Digest("z" * 5000, [notes[0].id])

    for hook in (broken, chatty):
        mine = pad(world, kit, store, summarise=hook, most=1000, least=500)
        for n in range(10):
            await mine.append(f"{n}" * 100)
        world.shifted += 3601
        await mine.append("new")
        assert await mine.size() < 500
        assert (await texts(mine)) == [*(f"{n}" * 100 for n in range(6, 10)), "new"]
        await store.delete_prefix("s1/pad")


async def pad_is_looked_after_each_ten_steps(world: World, kit: Kit) -> None:
    store = await world.open()
    mine = pad(world, kit, store, most=1000, least=500)
    await mine.append("gone soon", ttl=1)
    others = pad(world, kit, store)
    await others.append("x" * 1001)
    world.shifted += 2
    for _ in range(9):
        await mine.step()
    assert await mine.size() == 1010
    await mine.step()
    assert await mine.size() < 500
    assert mine.statistics()["tidied"] == 1


async def pad_takes_an_old_text_over(world: World, kit: Kit) -> None:
    store = await world.open()
    mine = pad(world, kit, store)
    note = await mine.import_text("a\nb\n")
    assert (note.text, note.persistent, note.tags) == ("a\nb\n", True, ("legacy",))
    with pytest.raises(TooLarge):
        await mine.import_text("x" * 30_000)
    await mine.remove(note.id)
    cut = await mine.import_text("x" * 30_000 + "end", cut=True)
    assert cut.text.startswith("[")
    assert cut.text.endswith("end")
    with pytest.raises(TooLarge):
        await mine.append("y" * 10_000, persistent=True)


async def pad_loses_no_note_of_several_writers(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(3)]
    await asyncio.gather(*(pad(world, kit, stores[n % 3]).append(f"{n}") for n in range(24)))
    assert sorted(await texts(pad(world, kit, stores[0])), key=int) == [f"{n}" for n in range(24)]


async def pad_tidied_by_several_loses_no_more_than_by_one(world: World, kit: Kit) -> None:
    stores = [await world.open() for _ in range(3)]
    pads = [pad(world, kit, store, least=500) for store in stores]
    for n in range(20):
        world.shifted += 1
        await pads[0].append(f"{n:>100}")
    await world.soon(asyncio.gather(*(each.tidy() for each in pads)))
    assert await texts(pads[0]) == [f"{n:>100}" for n in range(16, 20)]


async def pad_goes_by_a_fence(world: World, kit: Kit) -> None:
    store = await world.open()
    held = await kit.Lock(store, "a").acquire()
    mine = pad(world, kit, store)
    await mine.append("mine", fence=held.fence)
    await held.release()
    with pytest.raises(Fenced):
        await mine.append("late", fence=held.fence)
    assert await texts(mine) == ["mine"]


PAD = [value for name, value in list(globals().items()) if name.startswith("pad_")]
