"""Conformance, leases: what hangs on one goes in one revision when it ends, and it never comes back."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

import asyncio

import pytest

from coordstore.errors import Conflict, LeaseLost
from coordstore.model import Append, Delete, Put
from coordstore.store import CoordStore, Lease
from coordstore.testing.suite.topic import Advance, OpenStore, Topic, keys_of, put_all

__all__ = ["LeaseTests"]

TTL = 2
"""Seconds: the shortest there is, for a store on real time is waited for."""


async def _kept(store: CoordStore) -> list[str]:
    """Return the keys after a write, which commits the expiries that are due."""
    await store.put("tick", b"")
    return [key for key in keys_of(await store.list()) if key != "tick"]


async def _ids(store: CoordStore) -> list[int]:
    return [lease.id for lease in await store.leases()]


class LeaseTests(Topic):
    """Leases and the keys that hang on them."""

    # --- granting and hanging ---------------------------------------------------------------------------

    async def test_a_granted_lease_is_listed_until_it_is_revoked(self, store: CoordStore, other: CoordStore) -> None:
        first, second = await store.grant(TTL), await other.grant(3600)
        assert first.id != second.id
        assert await _ids(store) == await _ids(other) == sorted([first.id, second.id])
        await first.revoke()
        assert await _ids(other) == [second.id]

    async def test_leases_tell_ttl_remaining_time_and_keys(self, store: CoordStore) -> None:
        lease = await store.grant(3600)
        await store.transact([Put("b", b"", lease), Put("a", b"", lease)])
        (told,) = await store.leases()
        assert (told.id, told.ttl, told.keys) == (lease.id, 3600, ("a", "b"))
        assert 0 < told.remaining <= 3600

    async def test_an_entry_names_the_lease_it_hangs_on(self, store: CoordStore) -> None:
        lease = await store.grant(3600)
        await store.put("a", b"", lease=lease)
        await store.put("b", b"", lease=lease.id)
        await store.create("c", b"", lease=(await store.leases())[0])
        await store.put("d", b"")
        assert [entry.lease for entry in (await store.list()).entries] == [lease.id, lease.id, lease.id, None]

    async def test_a_lease_holds_for_any_handle(self, store: CoordStore, other: CoordStore) -> None:
        lease = await store.grant(3600)
        await other.put("a", b"", lease=lease)
        await lease.revoke()
        assert keys_of(await other.list()) == []

    async def test_a_live_lease_is_not_lost(self, store: CoordStore) -> None:
        lease = await store.grant(3600)
        assert (lease.ttl, lease.lost) == (3600, False)
        await lease.renew()
        assert not lease.lost

    # --- revoking ---------------------------------------------------------------------------------------

    async def test_revoking_removes_all_its_keys_in_one_revision(self, store: CoordStore, other: CoordStore) -> None:
        lease = await store.grant(3600)
        await store.transact([*(Put(f"a/{n:02}", b"", lease) for n in range(60)), Put("kept", b"")])
        since = (await store.list()).revision
        await lease.revoke()
        async with self.feed(other.watch(since=since)) as feed:
            batch = await feed.next()
        assert sorted(change.key for change in batch.changes) == [f"a/{n:02}" for n in range(60)]
        assert all(change.entry is None for change in batch.changes)
        assert batch.revision == (await store.list()).revision
        assert keys_of(await store.list()) == ["kept"]

    async def test_a_revoked_lease_is_lost_for_ever(self, store: CoordStore) -> None:
        lease = await store.grant(3600)
        await lease.revoke()
        assert lease.lost
        await self.soon(lease.wait_lost())
        with pytest.raises(LeaseLost) as caught:
            await lease.renew()
        assert caught.value.lease == lease.id
        await lease.revoke()
        assert lease.id not in await _ids(store)

    async def test_a_put_on_an_ended_or_unknown_lease_is_lease_lost_and_not_applied(self, store: CoordStore) -> None:
        lease = await store.grant(3600)
        await lease.revoke()
        before = await store.list()
        for ended in (lease, lease.id, lease.id + 12345):
            with pytest.raises(LeaseLost):
                await store.transact([Put("a", b""), Put("b", b"", ended)], appends=[Append("s", b"")])
        assert (await store.list(), await store.heads()) == (before, {})

    async def test_async_with_revokes_at_the_end_also_of_a_failed_body(self, store: CoordStore) -> None:
        lease = await store.grant(3600)

        async def fail() -> None:
            async with lease:
                await store.put("a", b"", lease=lease)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await fail()
        assert lease.lost
        assert keys_of(await store.list()) == []

    # --- letting go -------------------------------------------------------------------------------------

    async def test_a_put_without_a_lease_takes_the_key_off(self, store: CoordStore) -> None:
        lease = await store.grant(3600)
        await put_all(store, "c")
        await store.transact([Put("a", b"1", lease), Put("b", b"1", lease), Put("c", b"1", lease)])
        await store.put("a", b"2")
        await store.delete("b")
        await store.put("b", b"2")
        await lease.revoke()
        assert keys_of(await store.list()) == ["a", "b"]

    async def test_a_put_on_another_lease_moves_the_key(self, store: CoordStore) -> None:
        first, second = await store.grant(3600), await store.grant(3600)
        await store.put("a", b"", lease=first)
        await store.put("a", b"", lease=second)
        await first.revoke()
        assert keys_of(await store.list()) == ["a"]
        await second.revoke()
        assert keys_of(await store.list()) == []

    async def test_a_key_deleted_and_made_again_by_others_outlives_the_lease(self, store: CoordStore) -> None:
        lease = await store.grant(3600)
        await store.put("a", b"", lease=lease)
        await store.transact([Delete("a")])
        await store.create("a", b"")
        await lease.revoke()
        assert keys_of(await store.list()) == ["a"]

    # --- expiry -----------------------------------------------------------------------------------------

    async def test_an_expired_leases_keys_vanish_in_one_revision_that_is_pushed_to_watchers(
        self, store: CoordStore, other: CoordStore, advance: Advance
    ) -> None:
        lease = await store.grant(TTL)
        await store.transact([Put("a/1", b"", lease), Put("a/2", b"", lease), Put("a/3", b"", lease), Put("b", b"")])
        async with self.feed(other.watch()) as feed, self.feed(store.watch()) as own:
            await feed.next()
            await own.next()
            waiting = asyncio.gather(feed.next(), own.next())
            await self.outlive(lease, advance)
            batch, same = await waiting
        assert sorted(change.key for change in batch.changes) == ["a/1", "a/2", "a/3"]
        assert all(change.entry is None for change in batch.changes)
        assert same == batch
        assert lease.lost
        assert keys_of(await other.list()) == ["b"]

    async def test_an_expired_lease_never_comes_back(
        self, store: CoordStore, other: CoordStore, advance: Advance
    ) -> None:
        lease = await store.grant(TTL)
        await store.put("a", b"", lease=lease)
        await self.outlive(lease, advance)
        stubborn = Lease(lease.id, 3600, lease.deadline, store, _Stopped(lease.deadline))  # type: ignore[arg-type]  # built on StoreBase
        for again in (
            stubborn.renew,  # what the holder believes does not count
            lease.renew,
            lambda: store.put("b", b"", lease=lease),
            lambda: other.put("b", b"", lease=lease.id),
        ):
            with pytest.raises(LeaseLost):
                await again()
        assert lease.lost
        assert await _kept(other) == []
        assert await _ids(store) == []

    async def test_a_transaction_commits_due_expiries_before_it_compares(
        self, store: CoordStore, other: CoordStore, advance: Advance
    ) -> None:
        lease = await store.grant(TTL)
        token = await store.create("lock", b"", lease=lease)
        with pytest.raises(Conflict):
            await other.create("lock", b"")
        await self.outlive(lease, advance)
        assert await other.create("lock", b"") > token

    async def test_renewals_keep_a_lease_and_without_them_it_ends(self, store: CoordStore, advance: Advance) -> None:
        lease, unkept = await store.grant(TTL), await store.grant(TTL)
        await store.transact([Put("a", b"", lease), Put("b", b"", unkept)])
        waited = 0.0
        while waited < TTL + self.slack:
            await advance(TTL * 0.6)
            await lease.renew()
            waited += TTL * 0.6
        assert not lease.lost
        assert await _kept(store) == ["a"]
        assert await _ids(store) == [lease.id]

    async def test_async_with_renews_in_the_background(self, store: CoordStore, advance: Advance) -> None:
        async with await store.grant(TTL) as lease:
            await store.put("a", b"", lease=lease)
            await advance(TTL * 1.6)
            assert not lease.lost
            assert await _kept(store) == ["a"]
        assert await _kept(store) == []

    async def test_a_lease_outlives_its_handle_by_its_ttl_and_the_holder_knows_when(
        self, open_store: OpenStore, store: CoordStore, advance: Advance
    ) -> None:
        async with open_store() as other:
            lease = await other.grant(TTL)
            await other.put("a", b"", lease=lease)
        assert await _kept(store) == ["a"]
        assert await _ids(store) == [lease.id]
        losing = asyncio.ensure_future(lease.wait_lost())
        await self.outlive(lease, advance)
        await self.soon(losing)
        assert lease.lost
        assert await _kept(store) == []


class _Stopped:
    """A clock that stands still, so that a holder never learns by itself that its time is over."""

    def __init__(self, deadline: float) -> None:
        self._now = deadline - 1

    def now(self) -> float:
        """Return always the same."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return at once."""
