"""Every recipe keeps what it promises, on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.recipes.agents import POOL
from tests.recipes.lines import LINES
from tests.recipes.meeting import MEETING
from tests.recipes.notes import PAD
from tests.recipes.post import MAIL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.recipes.world import Kit, World

    Check = Callable[[World, Kit], Awaitable[None]]

pytestmark = pytest.mark.timeout(240)


def named(check: Check) -> str:
    return check.__name__


@pytest.mark.req("R1")
@pytest.mark.parametrize("check", LINES, ids=named)
async def test_what_one_holds(check: Check, world: World, kit: Kit) -> None:
    await check(world, kit)


@pytest.mark.req("R1")
@pytest.mark.parametrize("check", MEETING, ids=named)
async def test_what_several_do_together(check: Check, world: World, kit: Kit) -> None:
    await check(world, kit)


@pytest.mark.req("R2", "R3", "R5")
@pytest.mark.parametrize("check", POOL, ids=named)
async def test_the_pool(check: Check, world: World, kit: Kit) -> None:
    await check(world, kit)


@pytest.mark.req("R6", "R7")
@pytest.mark.parametrize("check", MAIL, ids=named)
async def test_the_mailbox(check: Check, world: World, kit: Kit) -> None:
    await check(world, kit)


@pytest.mark.req("R8")
@pytest.mark.parametrize("check", PAD, ids=named)
async def test_the_scratchpad(check: Check, world: World, kit: Kit) -> None:
    await check(world, kit)
