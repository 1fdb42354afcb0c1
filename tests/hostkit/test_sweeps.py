"""Leases that are due while somebody else writes: he ends them, and nobody complains."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.hostkit import StoreLock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.req("S5")
@pytest.mark.parametrize(("url", "lock"), [("file:{}/s", "s/.coord/lock"), ("sqlite:{}/s.db", "s.db-lock")])
async def test_who_reads_while_another_writes_says_nothing_of_it(
    url: str, lock: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(url.format(tmp_path)) as store:
        lease = await store.grant(2)
        await store.put("key", b"", lease=lease)
        await asyncio.sleep(2.2)
        held = StoreLock(tmp_path / lock, 1).held()
        await asyncio.to_thread(held.__enter__)
        with caplog.at_level(logging.DEBUG):
            assert await store.get("key") is not None, "reading goes on, with what could not be ended yet"
        await asyncio.to_thread(held.__exit__, None, None, None)
        told = [record for record in caplog.records if "could not be ended yet" in record.message]
        assert [record.levelname for record in told] == ["DEBUG"]
