"""Every recipe keeps what it promises, on every backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.recipes.lines import LINES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.recipes.world import Kit, World

    Check = Callable[[World, Kit], Awaitable[None]]

CHECKS: list[Check] = [*LINES]


@pytest.mark.req("R1")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_that(check: Check, world: World, kit: Kit) -> None:
    await check(world, kit)
