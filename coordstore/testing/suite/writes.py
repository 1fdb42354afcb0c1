"""Conformance, single writes: what `put`, `create`, `delete` and `delete_prefix` promise, and `expect`."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Conflict
from coordstore.testing.suite.topic import Topic, keys_of, put_all, together

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["WriteTests"]


class WriteTests(Topic):
    """The sugar on `transact`."""

    # --- put and expect ---------------------------------------------------------------------------------

    async def test_put_expecting_the_revision_it_has_writes(self, store: CoordStore) -> None:
        first = await store.put("a", b"1")
        second = await store.put("a", b"2", expect=first)
        entry = await store.get("a")
        assert entry is not None
        assert (entry.value, entry.revision, entry.create_revision) == (b"2", second, first)

    async def test_put_expecting_another_revision_is_a_conflict_that_tells_the_one_seen(
        self, store: CoordStore
    ) -> None:
        first = await store.put("a", b"1")
        second = await store.put("a", b"2")
        for wrong in (first, second + 1, 0):
            with pytest.raises(Conflict) as caught:
                await store.put("a", b"3", expect=wrong)
            assert caught.value.revisions == {"a": second}

    async def test_put_expecting_absence_writes_only_an_absent_key(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1", expect=0)
        with pytest.raises(Conflict) as caught:
            await store.put("a", b"2", expect=0)
        assert caught.value.revisions == {"a": revision}

    async def test_put_expecting_a_revision_of_an_absent_key_is_a_conflict_with_0(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1")
        await store.delete("a")
        with pytest.raises(Conflict) as caught:
            await store.put("a", b"2", expect=revision)
        assert caught.value.revisions == {"a": 0}

    async def test_a_conflict_leaves_everything_as_it_was(self, store: CoordStore) -> None:
        await store.put("a", b"1")
        before = await store.list()
        with pytest.raises(Conflict):
            await store.put("a", b"2", expect=0)
        with pytest.raises(Conflict):
            await store.delete("a", expect=before.revision + 1)
        assert await store.list() == before

    async def test_a_put_of_the_same_value_is_a_change(self, store: CoordStore) -> None:
        first = await store.put("a", b"1")
        assert await store.put("a", b"1") > first

    async def test_expect_compares_the_revision_not_the_value(self, store: CoordStore) -> None:
        first = await store.put("a", b"1")
        await store.put("a", b"2")
        await store.put("a", b"1")
        with pytest.raises(Conflict):
            await store.put("a", b"3", expect=first)

    async def test_of_many_that_expect_one_revision_one_wins(self, store: CoordStore, other: CoordStore) -> None:
        for turn in range(5):
            revision = await store.put(f"a/{turn}", b"")
            results = await together(
                *((store, other)[n % 2].put(f"a/{turn}", b"%d" % n, expect=revision) for n in range(10))
            )
            wins = [result for result in results if isinstance(result, int)]
            assert len(wins) == 1
            refused = [result for result in results if isinstance(result, Conflict)]
            assert [conflict.revisions for conflict in refused] == [{f"a/{turn}": wins[0]}] * 9

    # --- create -----------------------------------------------------------------------------------------

    async def test_create_returns_the_create_revision(self, store: CoordStore) -> None:
        token = await store.create("a", b"1")
        entry = await store.get("a")
        assert entry is not None
        assert entry.create_revision == entry.revision == token

    async def test_create_of_a_key_that_exists_is_a_conflict(self, store: CoordStore) -> None:
        token = await store.create("a", b"1")
        with pytest.raises(Conflict) as caught:
            await store.create("a", b"2")
        assert caught.value.revisions == {"a": token}
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"1"

    async def test_of_many_that_create_one_key_one_wins(self, store: CoordStore, other: CoordStore) -> None:
        results = await together(*((store, other)[n % 2].create("a", b"%d" % n) for n in range(20)))
        wins = [n for n, result in enumerate(results) if isinstance(result, int)]
        entry = await store.get("a")
        assert entry is not None
        assert [b"%d" % n for n in wins] == [entry.value]
        assert sum(isinstance(result, Conflict) for result in results) == 19

    # --- delete -----------------------------------------------------------------------------------------

    async def test_delete_tells_whether_the_key_was_there(self, store: CoordStore) -> None:
        await store.put("a", b"1")
        assert await store.delete("a") is True
        assert await store.delete("a") is False

    async def test_delete_removes_only_the_key_itself(self, store: CoordStore) -> None:
        await put_all(store, "a", "a/b", "ab")
        await store.delete("a")
        assert keys_of(await store.list()) == ["a/b", "ab"]

    async def test_delete_of_an_absent_key_takes_no_revision(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1")
        await store.delete("b")
        assert (await store.list()).revision == revision

    async def test_delete_expecting_the_revision_it_has_removes(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1")
        assert await store.delete("a", expect=revision) is True

    async def test_delete_expecting_another_revision_is_a_conflict(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1")
        for wrong in (0, revision + 1):
            with pytest.raises(Conflict) as caught:
                await store.delete("a", expect=wrong)
            assert caught.value.revisions == {"a": revision}
        assert await store.get("a") is not None

    async def test_delete_of_an_absent_key_expecting_absence_is_false(self, store: CoordStore) -> None:
        assert await store.delete("a", expect=0) is False

    async def test_delete_of_an_absent_key_expecting_a_revision_is_a_conflict(self, store: CoordStore) -> None:
        with pytest.raises(Conflict) as caught:
            await store.delete("a", expect=1)
        assert caught.value.revisions == {"a": 0}

    async def test_of_many_that_delete_one_key_one_is_told_it_was_there(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        await store.put("a", b"")
        assert sorted(await together(*((store, other)[n % 2].delete("a") for n in range(10))), key=bool) == [
            *[False] * 9,
            True,
        ]

    # --- delete_prefix ----------------------------------------------------------------------------------

    async def test_delete_prefix_removes_what_the_prefix_covers_and_tells_how_many(self, store: CoordStore) -> None:
        await put_all(store, "a1", "a1/x", "a1/x/y", "a10", "a10/x", "a1-b", "b")
        assert await store.delete_prefix("a1") == 3
        assert keys_of(await store.list()) == ["a1-b", "a10", "a10/x", "b"]

    async def test_delete_prefix_with_a_trailing_slash_keeps_the_key_itself(self, store: CoordStore) -> None:
        await put_all(store, "a", "a/1", "a/2", "ab")
        assert await store.delete_prefix("a/") == 2
        assert keys_of(await store.list()) == ["a", "ab"]

    async def test_delete_prefix_of_nothing_is_0_and_takes_no_revision(self, store: CoordStore) -> None:
        revision = await store.put("b", b"")
        assert await store.delete_prefix("a") == 0
        assert (await store.list()).revision == revision

    async def test_delete_prefix_removes_any_number_at_one_revision(self, store: CoordStore, other: CoordStore) -> None:
        await put_all(store, *(f"a/{number:03}" for number in range(200)), "b")
        since = (await store.list()).revision
        assert await store.delete_prefix("a") == 200
        async with self.feed(other.watch(since=since)) as feed:
            batch = await feed.next()
        assert len(batch.changes) == 200
        assert batch.revision == (await store.list()).revision > since

    async def test_delete_prefix_of_the_empty_prefix_removes_all_keys(self, store: CoordStore) -> None:
        await put_all(store, "a", "b/c")
        assert await store.delete_prefix("") == 2
        assert keys_of(await store.list()) == []

    async def test_delete_prefix_leaves_the_streams(self, store: CoordStore) -> None:
        await store.put("a", b"")
        await store.append("a", [b"1"])
        await store.append("a/b", [b"1"])
        await store.delete_prefix("")
        assert await store.heads() == {"a": 1, "a/b": 1}
