"""Watch and follow over pages: what happens at the seams between two pages."""

from __future__ import annotations

from contextlib import aclosing

import pytest

from coordstore.errors import StoreReplaced, Trimmed
from coordstore.model import Append, Batch, Put, Record
from coordstore.store import feeds
from coordstore.testing import Memory, MemoryStore
from coordstore.testing.suite.topic import Feed, Mirror

pytestmark = pytest.mark.req("S6", "S8", "S13")


@pytest.fixture(autouse=True)
def _small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "PAGE", 3)
    monkeypatch.setattr(feeds, "RESET_PART", 4)


async def test_a_watch_over_many_pages_has_no_seam() -> None:
    store = MemoryStore()
    revisions = [await store.put(f"a/{n % 4}", b"%d" % n) for n in range(20)]
    async with Feed(store.watch("a", since=0), 5) as feed:
        assert [batch.revision for batch in await feed.take(20)] == revisions


async def test_pages_without_a_change_under_the_prefix_are_passed() -> None:
    store = MemoryStore()
    for n in range(20):
        await store.put("b", b"%d" % n)
    last = await store.put("a", b"")
    async with Feed(store.watch("a", since=0), 5) as feed:
        assert (await feed.next()).revision == last


async def test_a_follow_over_many_pages_has_no_seam() -> None:
    store = MemoryStore()
    for n in range(10):
        await store.append(f"s/{n % 3}", [b"1", b"2"])
        await store.append("other", [b""])
    async with Feed(store.follow("s"), 5) as feed:
        records = await feed.take(20)
    assert [record.revision for record in records] == sorted(record.revision for record in records)
    assert len({(record.stream, record.sequence) for record in records}) == 20


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 8, 9])
async def test_only_the_last_part_of_a_reset_is_complete(count: int) -> None:
    store = MemoryStore()
    for n in range(count):
        await store.put(f"a/{n}", b"")
    async with Feed(store.watch(), 5) as feed:
        parts = await feed.until(lambda batch: batch.complete)
    assert [len(part.changes) for part in parts] == [4] * ((count - 1) // 4) + [(count - 1) % 4 + 1 if count else 0]
    assert all(part.reset for part in parts)


async def test_compaction_between_two_pages_is_a_reset_and_no_gap() -> None:
    store = MemoryStore()
    for n in range(10):
        await store.put(f"a/{n}", b"")
    mirror = Mirror()
    async with Feed(store.watch(since=0), 5) as feed:
        mirror.take(await feed.next())
        await store.compact()
        await store.delete("a/0")
        while len(mirror.entries) < 9 or "a/0" in mirror.entries:
            mirror.take(await feed.next())
    assert mirror.resets == 1
    assert mirror.entries == {entry.key: entry for entry in (await store.list()).entries}


async def test_a_trim_between_two_pages_is_told() -> None:
    store = MemoryStore()
    for n in range(10):
        await store.append("s", [b"%d" % n])
    async with Feed(store.follow(), 5) as feed:
        assert (await feed.next()).sequence == 1
        await store.trim("s", 9)
        assert [record.sequence for record in await feed.take(2)] == [2, 3]
        with pytest.raises(Trimmed, match="begins at 10 now"):
            await feed.next()


async def test_a_store_that_went_back_is_replaced() -> None:
    memory = Memory()
    store = MemoryStore(memory)
    for n in range(5):
        await store.transact([Put("a", b"%d" % n)], appends=[Append("s", b"%d" % n)])
    async with Feed(store.follow(), 5) as records, Feed(store.watch(since=0), 5) as changes:
        both: tuple[Feed[Record] | Feed[Batch], ...] = (records, changes)
        for feed in both:
            assert [item.revision for item in await feed.take(3)] == [1, 2, 3]
        memory.state = Memory().state
        for feed in both:
            with pytest.raises(StoreReplaced, match="ahead of the store"):
                await feed.next()


async def test_closing_a_feed_before_its_first_item_is_fine() -> None:
    async with aclosing(MemoryStore().watch()), aclosing(MemoryStore().follow()):
        pass
