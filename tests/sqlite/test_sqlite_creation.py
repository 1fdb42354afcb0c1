"""A store in a new directory: the directories that lead to it are as durable as the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.hostkit.paths import sync_directory
from coordstore_sqlite import schema

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.req("S7")
async def test_creating_a_store_syncs_the_names_of_the_directories_made_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []

    def sync(path: Path) -> None:
        synced.append(path)
        sync_directory(path)

    monkeypatch.setattr(schema, "sync_directory", sync)
    async with open_store(f"sqlite:{tmp_path}/new/deep/store.db") as store:
        await store.put("a", b"1")
    assert synced[:3] == [tmp_path / "new/deep", tmp_path / "new", tmp_path]
