"""Leases on disk: reboots, lost and damaged side files, and renewals that wait for nobody."""

from __future__ import annotations

import errno
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.errors import LeaseLost, OutcomeUnknown
from coordstore.testing import Clock
from coordstore.url import StoreURL
from coordstore_sqlite.draft import Draft
from coordstore_sqlite.store import open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coordstore_sqlite.handle import SqliteStore


@pytest.fixture
def side(path: Path) -> Path:
    return Path(f"{path}-leases")


@asynccontextmanager
async def on_clock(url: str, clock: Clock) -> AsyncIterator[SqliteStore]:
    async with await open_sqlite(StoreURL.parse(url), clock) as store:
        yield store


@pytest.mark.req("S9")
async def test_every_lease_ends_with_a_reboot(url: str, side: Path) -> None:
    async with open_store(url) as store:
        lease = await store.grant(3600)
        await store.put("a", b"1", lease=lease)
        await store.put("b", b"1", lease=lease)
    raw = bytearray(side.read_bytes())
    raw[8] ^= 1
    side.write_bytes(raw)
    async with open_store(url) as store:
        assert await store.leases() == []
        assert (await store.list()).entries == []
        assert (await store.info()).revision == 3


@pytest.mark.req("S9")
@pytest.mark.parametrize("how", ["removed", "emptied", "overwritten"])
async def test_leases_of_a_lost_side_file_end_and_their_holder_is_told(url: str, side: Path, how: str) -> None:
    async with open_store(url) as store, open_store(url) as other:
        lease = await store.grant(3600)
        await store.put("a", b"1", lease=lease)
        if how == "removed":
            side.unlink()
        else:
            side.write_bytes(b"" if how == "emptied" else b"nonsense" * 16)
        await other.put("b", b"1", lease=None)
        with pytest.raises(LeaseLost):
            await lease.renew()
        await other.put("c", b"1")
        assert [entry.key for entry in (await other.list()).entries] == ["b", "c"]
        with pytest.raises(LeaseLost):
            await store.put("a", b"2", lease=lease)
        again = await store.grant(3600)
        await other.put("a", b"3", lease=again)
        assert [info.id for info in await other.leases()] == [again.id]


@pytest.mark.req("S9")
async def test_a_damaged_slot_ends_its_lease_only(url: str, side: Path) -> None:
    clock = Clock()
    async with on_clock(url, clock) as store:
        damaged, whole = await store.grant(100), await store.grant(200)
        await store.put("damaged", b"", lease=damaged)
        await store.put("whole", b"", lease=whole)
        raw = bytearray(side.read_bytes())
        raw[64 + 9] ^= 1
        side.write_bytes(raw)
        with pytest.raises(LeaseLost):
            await damaged.renew()
        await whole.renew()
        await clock.advance(101)
        assert [entry.key for entry in (await store.list()).entries] == ["whole"]


@pytest.mark.req("S9")
async def test_expiry_on_a_clock_takes_all_keys_in_one_revision_and_frees_the_slot(url: str, side: Path) -> None:
    clock = Clock()
    async with on_clock(url, clock) as store:
        for number in range(1, 30):
            lease = await store.grant(10)
            for key in ("a", "b", "c"):
                await store.put(key, b"", lease=lease)
            await clock.advance(9.9)
            assert len((await store.list()).entries) == 3
            await clock.advance(0.2)
            assert (await store.list()).entries == []
            assert (await store.info()).revision == 4 * number
        assert side.stat().st_size == 128


@pytest.mark.req("S9")
async def test_a_key_moved_to_another_lease_or_none_outlives_the_first(url: str) -> None:
    clock = Clock()
    async with on_clock(url, clock) as store:
        short, long = await store.grant(10), await store.grant(100)
        for key, lease in (("none", None), ("long", long), ("short", short)):
            await store.put(key, b"", lease=short)
            await store.put(key, b"", lease=lease)
        await clock.advance(11)
        assert [entry.key for entry in (await store.list()).entries] == ["long", "none"]


@pytest.mark.req("S9")
async def test_a_thousand_leases_expire_together_while_one_is_renewed(url: str) -> None:
    clock = Clock()
    async with on_clock(url, clock) as store:
        kept = await store.grant(10)
        await store.put("kept", b"", lease=kept)
        for number in range(300):
            await store.put(f"many/{number}", b"", lease=await store.grant(10))
        await clock.advance(9)
        await kept.renew()
        await clock.advance(2)
        assert [entry.key for entry in (await store.list()).entries] == ["kept"]
        assert [info.id for info in await store.leases()] == [kept.id]
        assert (await store.info()).revision == 301 + 300


async def test_a_revoked_lease_whose_keys_could_not_be_removed_is_no_refusal(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await open_sqlite(StoreURL.parse(url)) as store:
        lease = await store.grant(60)
        await store.put("a", b"1", lease=lease)
        with monkeypatch.context() as patch:
            patch.setattr(Draft, "finish", full)
            with pytest.raises(OutcomeUnknown, match="has ended"):
                await store.lease_revoke(lease.id)
        with pytest.raises(LeaseLost):
            await store.lease_renew(lease.id)
        await store.put("b", b"2")
        assert await store.get("a") is None


def full(_: Draft) -> None:
    """Find the disk full before the commit."""
    raise OSError(errno.ENOSPC, "planted")
