"""Conformance, keys: what `get` and `list` return."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from coordstore import names
from coordstore.model import Entry, Put
from coordstore.testing.suite.topic import Topic, keys_of, put_all

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["KeyTests"]

_BYTES = [b"", b"\0", b"\xff\xfe", b"caf\xc3\xa9\n", bytes(range(256)), b"'; drop table keys; --"]


class KeyTests(Topic):
    """Single keys and listings."""

    async def test_get_of_an_absent_key_is_none(self, store: CoordStore) -> None:
        assert await store.get("agents/t1.1/status") is None

    @pytest.mark.parametrize("value", _BYTES)
    async def test_get_returns_the_bytes_that_were_put(self, store: CoordStore, value: bytes) -> None:
        await store.put("a", value)
        entry = await store.get("a")
        assert entry is not None
        assert (entry.value, type(entry.value)) == (value, bytes)

    async def test_an_entry_carries_the_revision_that_put_returned(self, store: CoordStore) -> None:
        revision = await store.put("a/b", b"1")
        assert await store.get("a/b") == Entry("a/b", b"1", revision, revision, None)

    async def test_a_put_replaces_the_value_and_keeps_the_create_revision(self, store: CoordStore) -> None:
        created = await store.put("a", b"1")
        revision = await store.put("a", b"2")
        assert await store.get("a") == Entry("a", b"2", revision, created, None)

    async def test_a_deleted_key_is_absent(self, store: CoordStore) -> None:
        await store.put("a", b"1")
        await store.delete("a")
        assert await store.get("a") is None
        assert keys_of(await store.list()) == []

    async def test_a_key_made_again_has_a_higher_create_revision(self, store: CoordStore) -> None:
        first = await store.put("a", b"1")
        await store.delete("a")
        again = await store.put("a", b"1")
        entry = await store.get("a")
        assert entry is not None
        assert entry.create_revision == again > first

    async def test_a_read_sees_every_write_that_ended_before_it_through_any_handle(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        for number in range(10):
            writer, reader = (store, other) if number % 2 else (other, store)
            revision = await writer.put("a", b"%d" % number)
            seen = await reader.get("a")
            assert seen is not None
            assert (seen.value, seen.revision) == (b"%d" % number, revision)
            assert (await reader.list("a")).entries == [seen]
            await writer.delete("a")
            assert await reader.get("a") is None

    async def test_a_value_is_what_it_was_when_put_was_called(self, store: CoordStore) -> None:
        value = bytearray(b"before")
        await store.put("a", value)  # type: ignore[arg-type]  # taken all the same, as memoryviews are
        value[:] = b"behind"
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"before"

    async def test_a_key_may_also_be_a_folder(self, store: CoordStore) -> None:
        await put_all(store, "a", "a/b", "a/b/c")
        await store.delete("a/b")
        assert keys_of(await store.list()) == ["a", "a/b/c"]

    # --- list -------------------------------------------------------------------------------------------

    async def test_a_list_of_nothing_is_empty(self, store: CoordStore) -> None:
        await store.put("b", b"")
        listing = await store.list("a")
        assert (listing.entries, listing.more) == ([], False)

    async def test_a_list_holds_whole_entries(self, store: CoordStore) -> None:
        await put_all(store, "a/1", "a/2")
        assert (await store.list("a")).entries == [await store.get("a/1"), await store.get("a/2")]

    async def test_a_list_is_sorted_by_byte_order(self, store: CoordStore) -> None:
        keys = ["a", "a-b", "a.b", "a/b", "a/b-c", "a/b/c", "a0", "a_b", "ab", "b", "0", "9", "@a", "a/0", "a/z"]
        await put_all(store, *keys)
        assert keys_of(await store.list()) == sorted(keys)

    async def test_a_prefix_covers_the_key_and_all_below_and_ends_at_a_segment(self, store: CoordStore) -> None:
        await put_all(store, "s/a1", "s/a1/x", "s/a1/x/y", "s/a10", "s/a10/x", "s/a1-b", "s/a1.b", "s/a1_b", "s/a")
        assert keys_of(await store.list("s/a1")) == ["s/a1", "s/a1/x", "s/a1/x/y"]

    async def test_a_prefix_with_a_trailing_slash_covers_only_what_is_below(self, store: CoordStore) -> None:
        await put_all(store, "a1", "a1/x", "a1/x/y", "a10", "a10/x", "a0", "a1-b/x")
        assert keys_of(await store.list("a1/")) == ["a1/x", "a1/x/y"]

    async def test_the_empty_prefix_covers_everything(self, store: CoordStore) -> None:
        keys = ["0", "@repo/x/guard", "a", "z/z", "z" * 64]
        await put_all(store, *keys)
        assert keys_of(await store.list("")) == keys_of(await store.list()) == sorted(keys)

    async def test_a_prefix_may_be_a_whole_key(self, store: CoordStore) -> None:
        await put_all(store, "a/b", "a/bc")
        assert keys_of(await store.list("a/b")) == ["a/b"]

    async def test_a_limit_cuts_the_list_and_more_tells_it(self, store: CoordStore) -> None:
        await put_all(store, "a", "a/1", "a/2", "b")
        cut = await store.list("a", limit=2)
        assert (keys_of(cut), cut.more) == (["a", "a/1"], True)
        for limit in (3, 4, names.LIST_MAX):
            whole = await store.list("a", limit=limit)
            assert (keys_of(whole), whole.more) == (["a", "a/1", "a/2"], False)

    async def test_after_goes_on_behind_a_key_whether_it_is_there_or_not(self, store: CoordStore) -> None:
        await put_all(store, "a", "a/1", "a/3", "a0", "b")
        assert keys_of(await store.list("a", after="a")) == ["a/1", "a/3"]
        assert keys_of(await store.list("a", after="a/2")) == ["a/3"]
        assert keys_of(await store.list("a", after="a/3")) == []
        assert keys_of(await store.list("a", after="0")) == ["a", "a/1", "a/3"]
        assert keys_of(await store.list(after="a/3")) == ["a0", "b"]

    async def test_pages_cover_a_prefix_without_gap_or_overlap(self, store: CoordStore) -> None:
        keys = [f"p/{number:03}" for number in range(150)]
        await put_all(store, *keys, "q")
        found: list[str] = []
        more = True
        while more:
            page = await store.list("p", limit=40, after=found[-1] if found else None)
            found += keys_of(page)
            more = page.more
        assert found == keys

    async def test_keys_only_leaves_the_values_empty_and_all_else_whole(self, store: CoordStore) -> None:
        first, last = await store.put("a", b"1"), await store.put("a", b"2")
        assert (await store.list("a", keys_only=True)).entries == [Entry("a", b"", last, first, None)]

    async def test_a_list_tells_the_revision_of_its_cut(self, store: CoordStore) -> None:
        for number in range(3):
            revision = await store.put(f"a/{number}", b"")
            assert (await store.list("b")).revision == (await store.list("a", limit=1)).revision == revision

    async def test_a_list_is_one_cut_while_others_write(self, store: CoordStore, other: CoordStore) -> None:
        keys = [f"pair/{number:02}" for number in range(64)]
        await store.transact([Put(key, b"0") for key in keys])
        writing = asyncio.ensure_future(self._rewrite(other, keys, times=15))
        while not writing.done():
            listing = await store.list("pair")
            assert len({entry.value for entry in listing.entries}) == 1
            assert {entry.revision for entry in listing.entries} == {listing.entries[0].revision}
            assert listing.entries[0].revision <= listing.revision
            await asyncio.sleep(0)
        await writing

    async def test_a_list_of_many_entries_is_one_cut(self, store: CoordStore, other: CoordStore) -> None:
        await put_all(store, *(f"many/{number:04}" for number in range(2000)))
        ends = ["many/0000", "many/1999"]
        await store.transact([Put(key, b"0") for key in ends])
        writing = asyncio.ensure_future(self._rewrite(other, ends, times=15))
        while not writing.done():
            entries = (await store.list("many")).entries
            assert len(entries) == 2000
            assert (entries[0].value, entries[0].revision) == (entries[-1].value, entries[-1].revision)
            await asyncio.sleep(0)
        await writing

    @staticmethod
    async def _rewrite(store: CoordStore, keys: list[str], times: int) -> None:
        for number in range(1, times + 1):
            await store.transact([Put(key, b"%d" % number) for key in keys])
