"""The recipes are checked on every backend of the table in world.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.recipes.world import WORLDS, Kit, World, on_etcd

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture(params=[*WORLDS, "etcd"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """Yield a store of each backend."""
    made = on_etcd(request.getfixturevalue("etcd_url")) if request.param == "etcd" else WORLDS[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture
def kit() -> Kit:
    """Return the recipes as they are."""
    return Kit()
