"""The checks of recipes can fail: each catches what was broken on purpose."""

from __future__ import annotations

import asyncio

import pytest

from coordstore.errors import CoordError
from tests.recipes.broken import BROKEN
from tests.recipes.world import memory_world

pytestmark = [pytest.mark.req("R1", "R2", "R6", "R8"), pytest.mark.timeout(120)]


@pytest.mark.parametrize("name", BROKEN)
async def test_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, check = BROKEN[name]
    world = memory_world(patience=1.5)
    kit = plant(monkeypatch)
    # What a broken recipe raises where it should not counts too; a mistake in this file does not.
    failed = (AssertionError, CoordError, asyncio.CancelledError, pytest.fail.Exception)
    try:
        with pytest.raises(failed):
            await world.soon(check(world, kit))
    finally:
        monkeypatch.undo()
        await world.close()
