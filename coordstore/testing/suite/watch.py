"""Conformance, watch: every change once, in order, whole transactions, never a gap and never a hang."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import StoreClosed, StoreReplaced
from coordstore.model import Append, Batch, Change, Delete, Put
from coordstore.testing.suite.topic import Feed, Mirror, OpenStore, Topic, put_all, together

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["WatchTests"]


async def _mirror(feed: Feed[Batch], end: str, mirror: Mirror | None = None) -> Mirror:
    """Read a watch until it shows the key `end` and is consistent; return the copy it makes."""
    mirror = mirror or Mirror()
    complete = False
    while end not in mirror.entries or not complete:
        batch = await feed.next()
        mirror.take(batch)
        complete = batch.complete
    return mirror


async def _revision(store: CoordStore) -> int:
    return (await store.list(limit=1)).revision


class WatchTests(Topic):
    """Watching keys."""

    # --- how it begins ----------------------------------------------------------------------------------

    async def test_without_since_a_reset_brings_the_full_prefix_first(self, store: CoordStore) -> None:
        await put_all(store, "a", "a/1", "a/2", "a0", "b")
        listing = await store.list("a")
        async with self.feed(store.watch("a")) as feed:
            batch = await feed.next()
        assert (batch.reset, batch.complete, batch.revision) == (True, True, listing.revision)
        assert [change.entry for change in batch.changes] == listing.entries

    async def test_an_empty_prefix_begins_with_one_empty_complete_reset(self, store: CoordStore) -> None:
        await store.put("b", b"")
        async with self.feed(store.watch("a")) as feed:
            assert await feed.next() == Batch(await _revision(store), reset=True, complete=True, changes=[])

    async def test_behind_the_reset_come_the_changes(self, store: CoordStore) -> None:
        await store.put("a", b"1")
        async with self.feed(store.watch()) as feed:
            assert (await feed.next()).reset
            revision = await store.put("b", b"2")
            assert await feed.next() == Batch(revision, changes=[Change("b", await store.get("b"))])

    async def test_with_since_only_later_changes_come(self, store: CoordStore) -> None:
        first, second = await store.put("a", b"1"), await store.put("a", b"2")
        third = await store.put("b", b"3")
        async with self.feed(store.watch(since=first)) as feed:
            batches = await feed.take(2)
        assert [(b.revision, b.reset, b.complete) for b in batches] == [(second, False, True), (third, False, True)]

    async def test_a_watch_since_a_listing_misses_nothing(self, store: CoordStore, other: CoordStore) -> None:
        writing = asyncio.gather(*(other.put(f"a/{n}", b"") for n in range(40)))
        listing = await store.list("a")
        await writing
        await other.put("a/end", b"")
        async with self.feed(store.watch("a", since=listing.revision)) as feed:
            mirror = await _mirror(feed, "a/end", Mirror(listing.revision, listing.entries))
        assert mirror.resets == 0
        assert sorted(mirror.entries) == sorted(entry.key for entry in (await store.list("a")).entries)

    async def test_a_reset_of_many_entries_is_one_cut_in_parts(self, store: CoordStore, other: CoordStore) -> None:
        await put_all(store, *(f"a/{n:04}" for n in range(1300)))
        async with self.feed(store.watch("a")) as feed:
            parts = [await feed.next()]
            await other.transact([Put("a/0000", b"new"), Put("a/end", b""), Delete("a/1299")])
            if not parts[0].complete:
                parts += await feed.until(lambda batch: batch.complete)
            assert all(part.reset for part in parts)
            assert {part.revision for part in parts} == {parts[0].revision}
            keys = [change.key for part in parts for change in part.changes]
            assert keys == [f"a/{n:04}" for n in range(1300)]
            assert [change.key for change in (await feed.next()).changes] == ["a/0000", "a/end", "a/1299"]

    async def test_since_above_the_stores_revision_is_store_replaced(self, store: CoordStore) -> None:
        revision = await store.put("a", b"1")
        async with self.feed(store.watch(since=revision + 1)) as feed:
            with pytest.raises(StoreReplaced):
                await feed.next()

    # --- what a batch is --------------------------------------------------------------------------------

    async def test_a_batch_is_one_transaction_in_the_order_of_its_writes(self, store: CoordStore) -> None:
        await put_all(store, "b", "c")
        since = await _revision(store)
        revision = await store.transact([Put("z", b"1"), Delete("b"), Put("a", b"2"), Put("c", b"3")])
        async with self.feed(store.watch(since=since)) as feed:
            batch = await feed.next()
        assert batch.revision == revision
        assert batch.changes == [
            Change("z", await store.get("z")),
            Change("b", None),
            Change("a", await store.get("a")),
            Change("c", await store.get("c")),
        ]

    async def test_every_transaction_is_a_batch_of_its_own_also_on_one_key(self, store: CoordStore) -> None:
        since = await _revision(store)
        for number in range(5):
            await store.put("a", b"%d" % number)
        await store.delete("a")
        async with self.feed(store.watch("a", since=since)) as feed:
            batches = await feed.take(6)
        values = [change.entry and change.entry.value for batch in batches for change in batch.changes]
        assert values == [b"0", b"1", b"2", b"3", b"4", None]

    async def test_a_prefix_ends_at_a_segment(self, store: CoordStore) -> None:
        since = await _revision(store)
        revision = await store.transact([Put(k, b"") for k in ("a10", "a1/x", "a1-b", "a10/x", "a1", "a", "a1.b")])
        async with self.feed(store.watch("a1", since=since)) as feed, self.feed(store.watch("a1/", since=since)) as low:
            assert [change.key for change in (await feed.next()).changes] == ["a1/x", "a1"]
            batch = await low.next()
        assert ([change.key for change in batch.changes], batch.revision) == (["a1/x"], revision)

    async def test_what_does_not_touch_the_prefix_is_not_delivered(self, store: CoordStore) -> None:
        async with self.feed(store.watch("a")) as feed:
            await feed.next()
            await store.put("b", b"")
            await store.append("a", [b"a record is no key"])
            await store.delete("a/absent")
            end = await store.put("a/end", b"")
            assert (await feed.next()).revision == end

    async def test_delete_prefix_is_one_batch(self, store: CoordStore) -> None:
        await put_all(store, "a", "a/1", "a/2", "b")
        since = await _revision(store)
        await store.delete_prefix("a")
        async with self.feed(store.watch(since=since)) as feed:
            batch = await feed.next()
        assert sorted((change.key, change.entry) for change in batch.changes) == [
            ("a", None),
            ("a/1", None),
            ("a/2", None),
        ]

    # --- pushed -----------------------------------------------------------------------------------------

    async def test_changes_are_pushed_from_this_handle_and_from_others(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        async with self.feed(store.watch()) as feed:
            await feed.next()
            for number, writer in enumerate((other, store, other)):
                waiting = asyncio.ensure_future(feed.next())
                await asyncio.sleep(0)
                revision = await writer.put("a", b"%d" % number)
                assert (await waiting).revision == revision

    async def test_no_gap_and_no_double_while_many_write(self, store: CoordStore, other: CoordStore) -> None:
        listing = await store.list()

        async def write(handle: CoordStore, name: int) -> list[int]:
            return [await handle.transact([Put(f"a/{name}", b"%d" % n), Put("a/all", b"")]) for n in range(15)]

        async with self.feed(store.watch(since=listing.revision)) as feed:
            reading = asyncio.ensure_future(_mirror(feed, "a/end", Mirror(listing.revision, listing.entries)))
            results = await together(*(write((store, other)[name % 2], name) for name in range(4)))
            await store.put("a/end", b"")
            mirror = await reading
        acknowledged = {revision for result in results if isinstance(result, list) for revision in result}
        assert (mirror.resets, len(acknowledged)) == (0, 60)
        assert mirror.revisions[:-1] == sorted(acknowledged)
        assert mirror.entries == {entry.key: entry for entry in (await store.list()).entries}

    async def test_all_watchers_see_the_same(self, store: CoordStore, other: CoordStore) -> None:
        since = await _revision(store)
        async with (
            self.feed(store.watch(since=since)) as one,
            self.feed(store.watch(since=since)) as two,
            self.feed(other.watch(since=since)) as three,
        ):
            reading = asyncio.gather(one.take(12), two.take(12), three.take(12))
            await together(*((store, other)[n % 2].put(f"a/{n % 5}", b"%d" % n) for n in range(12)))
            first, second, third = await reading
        assert first == second == third

    async def test_a_watch_goes_on_where_another_left_off(self, store: CoordStore) -> None:
        since = await _revision(store)
        revisions = [await store.put("a", b"%d" % number) for number in range(6)]
        seen: list[int] = []
        while len(seen) < 6:
            async with self.feed(store.watch("a", since=since)) as feed:
                seen += [batch.revision for batch in await feed.take(2)]
            since = seen[-1]
        assert seen == revisions

    # --- compaction -------------------------------------------------------------------------------------

    async def test_compact_returns_the_floor_and_keeps_all_state(self, store: CoordStore) -> None:
        await put_all(store, "a", "b")
        await store.append("s", [b"1"])
        listing = await store.list()
        assert await store.compact() == (await store.info()).floor == listing.revision
        assert await store.list() == listing
        assert len(await store.read("s")) == 1

    async def test_compact_keeps_the_revisions_asked_for(self, store: CoordStore) -> None:
        revisions = [await store.put("a", b"%d" % number) for number in range(10)]
        assert await store.compact(keep=revisions[-1] - revisions[5]) <= revisions[5]
        async with self.feed(store.watch("a", since=revisions[5])) as feed:
            assert [batch.revision for batch in await feed.take(4)] == revisions[6:]

    async def test_the_floor_never_sinks(self, store: CoordStore) -> None:
        await put_all(store, "a", "b")
        floor = await store.compact()
        assert await store.compact(keep=1000) == floor

    async def test_since_below_the_floor_begins_with_a_reset(self, store: CoordStore) -> None:
        first = await store.put("a", b"1")
        await store.put("a", b"2")
        await store.compact()
        async with self.feed(store.watch("a", since=first)) as feed:
            batch = await feed.next()
            assert (batch.reset, batch.complete) == (True, True)
            assert [change.entry for change in batch.changes] == [await store.get("a")]
            revision = await store.put("a", b"3")
            assert (await feed.next()).revision == revision

    async def test_since_at_the_floor_needs_no_reset(self, store: CoordStore) -> None:
        await store.put("a", b"1")
        floor = await store.compact()
        revision = await store.put("a", b"2")
        async with self.feed(store.watch("a", since=floor)) as feed:
            batch = await feed.next()
        assert (batch.reset, batch.revision) == (False, revision)

    async def test_a_slow_consumer_that_compaction_overtakes_gets_a_reset_and_no_gap(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        listing = await store.list()
        mirror = Mirror(listing.revision, listing.entries)
        await store.transact([Put("a/1", b""), Put("a/gone", b"")])
        async with self.feed(store.watch("a", since=listing.revision)) as feed:
            mirror.take(await feed.next())
            changes = [await other.put("a/1", b"%d" % n) for n in range(30)]
            await other.delete("a/gone")
            await other.compact()
            await other.put("a/end", b"")
            await _mirror(feed, "a/end", mirror)
        assert mirror.entries == {entry.key: entry for entry in (await store.list("a")).entries}
        assert mirror.resets or set(changes) <= set(mirror.revisions)

    async def test_a_waiting_watch_survives_compaction(self, store: CoordStore) -> None:
        mirror = Mirror()
        async with self.feed(store.watch()) as feed:
            mirror.take(await feed.next())
            waiting = asyncio.ensure_future(feed.next())
            await asyncio.sleep(0)
            await store.append("s", [b"1"])
            await store.compact()
            revision = await store.put("a", b"1")
            mirror.take(await waiting)
            while mirror.revision < revision:  # a reset came first: compaction overtook the watch
                mirror.take(await feed.next())
        assert mirror.entries == {"a": await store.get("a")}

    # --- how it ends ------------------------------------------------------------------------------------

    async def test_closing_the_handle_ends_its_watches_with_store_closed(self, open_store: OpenStore) -> None:
        async with (
            open_store() as store,
            self.feed(store.watch()) as idle,
            self.feed(store.watch("a")) as behind,
        ):
            await idle.next()
            await behind.next()
            waiting = asyncio.ensure_future(idle.next())
            await asyncio.sleep(0)
            await self.soon(store.aclose())
            for feed in (waiting, behind.next()):
                with pytest.raises(StoreClosed):
                    await feed

    async def test_a_cancelled_watch_leaves_the_handle_usable(self, store: CoordStore) -> None:
        async with self.feed(store.watch()) as feed, self.feed(store.watch()) as kept:
            await feed.next()
            await kept.next()
            waiting = asyncio.ensure_future(feed.next())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            revision = await self.soon(store.put("a", b"1"))
            assert (await kept.next()).revision == revision

    async def test_a_watch_that_nobody_read_closes(self, store: CoordStore) -> None:
        await self.soon(store.watch().aclose())
        await store.put("a", b"1")

    async def test_appends_alone_are_no_batch(self, store: CoordStore) -> None:
        since = await _revision(store)
        await store.transact(appends=[Append("a", b"1")])
        end = await store.transact([Put("a", b"")], appends=[Append("a", b"2")])
        async with self.feed(store.watch("a", since=since)) as feed:
            assert [(b.revision, len(b.changes)) for b in await feed.take(1)] == [(end, 1)]
