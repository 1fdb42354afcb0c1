"""Conformance, follow: the records of many streams, each once, in revision order."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import StoreClosed, Trimmed
from coordstore.model import Append, Put, Record
from coordstore.testing.suite.topic import OpenStore, Topic, together

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["FollowTests"]


def _places(records: list[Record]) -> list[tuple[str, int]]:
    return [(record.stream, record.sequence) for record in records]


class FollowTests(Topic):
    """Following streams."""

    async def test_follow_delivers_what_is_there_and_then_what_comes(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        await store.append("s", [b"1", b"2"])
        async with self.feed(store.follow()) as feed:
            assert await feed.take(2) == await store.read("s")
            for number, writer in ((3, other), (4, store)):
                waiting = asyncio.ensure_future(feed.next())
                await asyncio.sleep(0)
                await writer.append("s", [b"%d" % number])
                record = await waiting
                assert (record.sequence, record.data) == (number, b"%d" % number)

    async def test_records_of_many_streams_come_in_revision_order(self, store: CoordStore) -> None:
        order = ["b", "a", "c", "a", "b", "b", "c/d", "a"]
        for name in order:
            await store.append(name, [name.encode()])
        async with self.feed(store.follow()) as feed:
            records = await feed.take(len(order))
        assert [record.stream for record in records] == order
        assert [record.revision for record in records] == sorted({record.revision for record in records})

    async def test_records_of_one_transaction_come_in_the_order_of_its_appends(self, store: CoordStore) -> None:
        await store.transact(appends=[Append("b", b"1"), Append("a", b"2"), Append("b", b"3"), Append("c", b"4")])
        async with self.feed(store.follow()) as feed:
            assert _places(await feed.take(4)) == [("b", 1), ("a", 1), ("b", 2), ("c", 1)]

    async def test_streams_that_appear_later_are_included(self, store: CoordStore) -> None:
        async with self.feed(store.follow("s")) as feed:
            waiting = asyncio.ensure_future(feed.next())
            await asyncio.sleep(0)
            await store.append("s/new", [b"1"])
            assert (await waiting).stream == "s/new"
            await store.append("s/newer", [b"1"])
            assert (await feed.next()).stream == "s/newer"

    async def test_a_prefix_ends_at_a_segment(self, store: CoordStore) -> None:
        names = ["a10", "a1/x", "a1-b", "a1", "a10/x", "a1/y"]
        for name in names:
            await store.append(name, [b""])
        async with self.feed(store.follow("a1")) as feed, self.feed(store.follow("a1/")) as below:
            assert [record.stream for record in await feed.take(3)] == ["a1/x", "a1", "a1/y"]
            assert [record.stream for record in await below.take(2)] == ["a1/x", "a1/y"]

    async def test_writes_of_keys_are_no_records(self, store: CoordStore) -> None:
        async with self.feed(store.follow()) as feed:
            await store.put("s", b"")
            await store.transact([Put("s", b"")], appends=[Append("s", b"1")])
            assert (await feed.next()).data == b"1"

    # --- the cursor -------------------------------------------------------------------------------------

    async def test_a_cursor_goes_on_behind_what_was_read(self, store: CoordStore) -> None:
        for number in range(4):
            await store.transact(appends=[Append("a", b"%d" % number), Append("b", b"%d" % number)])
        async with self.feed(store.follow(after={"a": 3, "b": 1})) as feed:
            assert _places(await feed.take(4)) == [("b", 2), ("b", 3), ("a", 4), ("b", 4)]
            await store.append("a", [b"4"])
            assert _places(await feed.take(1)) == [("a", 5)]

    async def test_a_cursor_at_the_heads_delivers_only_what_comes(self, store: CoordStore) -> None:
        await store.append("a", [b"1", b"2"])
        await store.append("b", [b"1"])
        async with self.feed(store.follow(after=await store.heads())) as feed:
            await store.append("b", [b"2"])
            assert _places(await feed.take(1)) == [("b", 2)]

    async def test_a_stream_not_in_the_cursor_comes_from_its_first_record(self, store: CoordStore) -> None:
        await store.append("a", [b"1", b"2"])
        await store.append("b", [b"1", b"2", b"3"])
        await store.trim("b", 1)
        async with self.feed(store.follow(after={"a": 2})) as feed:
            assert _places(await feed.take(2)) == [("b", 2), ("b", 3)]

    async def test_a_cursor_of_streams_outside_the_prefix_is_ignored(self, store: CoordStore) -> None:
        await store.append("a/1", [b"1"])
        async with self.feed(store.follow("a", after={"b": 7})) as feed:
            assert _places(await feed.take(1)) == [("a/1", 1)]

    async def test_a_cursor_behind_a_trim_is_told(self, store: CoordStore) -> None:
        await store.append("a", [b"1", b"2", b"3"])
        await store.trim("a", 2)
        async with self.feed(store.follow(after={"a": 1})) as feed:
            with pytest.raises(Trimmed) as caught:
                await feed.next()
        assert (caught.value.stream, caught.value.first) == ("a", 3)

    async def test_a_cursor_beyond_the_head_is_told(self, store: CoordStore) -> None:
        await store.append("a", [b"1", b"2", b"3"])
        await store.drop("a")
        await store.append("a", [b"other"])
        for cursor in ({"a": 3}, {"never": 1}):
            async with self.feed(store.follow(after=cursor)) as feed:
                with pytest.raises(Trimmed) as caught:
                    await feed.next()
            assert (caught.value.stream, caught.value.first) == (next(iter(cursor)), 1)

    async def test_a_follow_resumed_by_its_cursor_delivers_each_record_once(self, store: CoordStore) -> None:
        expected = [(name, number) for number in range(1, 5) for name in ("a", "b")]
        for name, _ in expected:
            await store.append(name, [b""])
        cursor: dict[str, int] = {}
        seen: list[tuple[str, int]] = []
        while len(seen) < len(expected):
            async with self.feed(store.follow(after=cursor)) as feed:
                for record in await feed.take(2):
                    cursor[record.stream] = record.sequence
                    seen.append((record.stream, record.sequence))
        assert seen == expected

    # --- while others write -----------------------------------------------------------------------------

    async def test_each_record_comes_once_in_revision_order_while_many_write(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        async def write(handle: CoordStore, writer: int) -> int:
            for number in range(10):
                await handle.append(f"s/{writer % 3}", [b"%d:%d" % (writer, number)])
            return writer

        async with self.feed(store.follow("s")) as feed:
            reading = asyncio.ensure_future(feed.take(60))
            await together(*(write((store, other)[writer % 2], writer) for writer in range(6)))
            records = await reading
        assert [record.revision for record in records] == sorted({record.revision for record in records})
        for name in ("s/0", "s/1", "s/2"):
            assert [record for record in records if record.stream == name] == await store.read(name)

    async def test_all_followers_see_the_same(self, store: CoordStore, other: CoordStore) -> None:
        async with self.feed(store.follow()) as one, self.feed(other.follow()) as two:
            reading = asyncio.gather(one.take(20), two.take(20))
            await together(*((store, other)[n % 2].append(f"s/{n % 3}", [b"%d" % n]) for n in range(20)))
            first, second = await reading
        assert first == second

    async def test_a_record_trimmed_before_it_was_delivered_is_told(self, store: CoordStore, other: CoordStore) -> None:
        await store.append("s", [b"1"])
        async with self.feed(store.follow()) as feed:
            await feed.next()
            for number in range(2, 30):
                await other.append("s", [b"%d" % number])
            await other.trim("s", 28)
            seen = [1]
            with contextlib.suppress(Trimmed):
                while seen[-1] < 29:
                    seen.append((await feed.next()).sequence)
        assert seen == list(range(1, seen[-1] + 1)), "records were missed without a word"

    async def test_a_stream_dropped_and_begun_anew_is_delivered_again_from_1(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2", b"3"])
        async with self.feed(store.follow()) as feed:
            await feed.take(3)
            await store.drop("s")
            await store.append("s", [b"new"])
            await store.append("s", [b"newer"])
            assert [(r.sequence, r.data) for r in await feed.take(2)] == [(1, b"new"), (2, b"newer")]

    async def test_compaction_does_not_disturb_a_follow(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2"])
        await store.compact()
        async with self.feed(store.follow()) as feed:
            assert _places(await feed.take(1)) == [("s", 1)]
            await store.append("t", [b"1"])
            await store.compact()
            assert _places(await feed.take(2)) == [("s", 2), ("t", 1)]

    # --- how it ends ------------------------------------------------------------------------------------

    async def test_closing_the_handle_ends_its_follows_with_store_closed(self, open_store: OpenStore) -> None:
        async with open_store() as store, self.feed(store.follow()) as feed:
            waiting = asyncio.ensure_future(feed.next())
            await asyncio.sleep(0)
            await self.soon(store.aclose())
            with pytest.raises(StoreClosed):
                await waiting

    async def test_a_cancelled_follow_leaves_the_handle_usable(self, store: CoordStore) -> None:
        async with self.feed(store.follow()) as feed, self.feed(store.follow()) as kept:
            waiting = asyncio.ensure_future(feed.next())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            await self.soon(store.append("s", [b"1"]))
            assert (await kept.next()).data == b"1"
