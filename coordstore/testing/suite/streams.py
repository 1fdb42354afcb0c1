"""Conformance, streams: sequences dense and unique under any concurrency, heads that survive trim."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Conflict, InvalidArgument, Trimmed
from coordstore.model import Append, Check, Record
from coordstore.testing.suite.topic import Topic, together

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["StreamTests"]


def _numbered(records: list[Record]) -> list[tuple[int, bytes]]:
    return [(record.sequence, record.data) for record in records]


class StreamTests(Topic):
    """Appending, reading, trimming and dropping."""

    # --- append and read --------------------------------------------------------------------------------

    async def test_append_returns_the_last_sequence_from_1(self, store: CoordStore) -> None:
        assert await store.append("s", [b"a"]) == 1
        assert await store.append("s", [b"b", b"c"]) == 3
        assert await store.append("t", [b"a"]) == 1

    async def test_read_returns_whole_records(self, store: CoordStore) -> None:
        data = [b"", b"\0\n", bytes(range(256))]
        await store.append("s/1", data)
        revision = (await store.list()).revision
        assert await store.read("s/1") == [Record("s/1", n, revision, some) for n, some in enumerate(data, 1)]

    async def test_read_begins_behind_after_and_ends_at_limit(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2", b"3", b"4"])
        assert _numbered(await store.read("s", after=1, limit=2)) == [(2, b"2"), (3, b"3")]
        assert _numbered(await store.read("s", limit=1)) == [(1, b"1")]
        assert _numbered(await store.read("s", after=3, limit=9)) == [(4, b"4")]
        assert await store.read("s", after=4) == []

    async def test_read_of_an_unknown_stream_is_empty(self, store: CoordStore) -> None:
        await store.append("s/t", [b"1"])
        assert await store.read("s") == []

    async def test_append_of_no_records_is_refused(self, store: CoordStore) -> None:
        with pytest.raises(InvalidArgument):
            await store.append("s", [])

    async def test_a_record_is_read_through_any_handle_once_append_returned(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        for number in range(1, 11):
            writer, reader = (store, other) if number % 2 else (other, store)
            assert await writer.append("s", [b"%d" % number]) == number
            assert (await reader.read("s", after=number - 1))[0].data == b"%d" % number
            assert await reader.heads() == {"s": number}

    async def test_the_records_of_one_append_share_a_revision(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2", b"3"])
        assert len({record.revision for record in await store.read("s")}) == 1

    async def test_a_failed_transaction_burns_no_sequence(self, store: CoordStore) -> None:
        await store.append("s", [b"1"])
        for _ in range(3):
            with pytest.raises(Conflict):
                await store.transact(appends=[Append("s", b"never")], checks=[Check("absent", revision=1)])
        assert await store.append("s", [b"2"]) == 2
        assert _numbered(await store.read("s")) == [(1, b"1"), (2, b"2")]

    async def test_sequences_are_dense_and_each_record_there_once_whatever_the_concurrency(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        async def write(handle: CoordStore, writer: int) -> list[tuple[int, bytes]]:
            mine = []
            for number in range(12):
                data = b"%d:%d" % (writer, number)
                mine.append((await handle.append("s", [data]), data))
            return mine

        results = await together(*(write((store, other)[writer % 2], writer) for writer in range(6)))
        acknowledged = sorted(pair for result in results if isinstance(result, list) for pair in result)
        records = await store.read("s")
        assert [sequence for sequence, _ in _numbered(records)] == list(range(1, 73))
        assert _numbered(records) == acknowledged
        assert [r.revision for r in records] == sorted({r.revision for r in records})

    async def test_the_records_of_a_concurrent_transaction_stay_together(
        self, store: CoordStore, other: CoordStore
    ) -> None:
        await together(
            *((store, other)[n % 2].append("s", [b"%d:%d" % (n, part) for part in range(3)]) for n in range(20))
        )
        records = await store.read("s")
        assert [r.sequence for r in records] == list(range(1, 61))
        for at in range(0, 60, 3):
            name = records[at].data.split(b":")[0]
            assert [r.data for r in records[at : at + 3]] == [name + b":%d" % part for part in range(3)]

    async def test_many_streams_do_not_disturb_each_other(self, store: CoordStore, other: CoordStore) -> None:
        await together(*((store, other)[n % 2].append(f"s/{n % 5}", [b"%d" % n]) for n in range(50)))
        assert await store.heads("s") == {f"s/{n}": 10 for n in range(5)}

    # --- heads ------------------------------------------------------------------------------------------

    async def test_heads_of_nothing_are_empty(self, store: CoordStore) -> None:
        assert await store.heads() == {}

    async def test_heads_of_a_prefix_end_at_a_segment(self, store: CoordStore) -> None:
        for name in ("a1", "a1/x", "a10", "a10/x", "a1-b"):
            await store.append(name, [b"1"])
        await store.append("a1/x", [b"2"])
        assert await store.heads("a1") == {"a1": 1, "a1/x": 2}
        assert await store.heads("a1/") == {"a1/x": 2}
        assert len(await store.heads()) == 5

    # --- trim -------------------------------------------------------------------------------------------

    async def test_trim_removes_records_up_to_a_sequence_and_keeps_the_head(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2", b"3"])
        await store.trim("s", 2)
        assert _numbered(await store.read("s", after=2)) == [(3, b"3")]
        assert await store.heads() == {"s": 3}
        assert await store.append("s", [b"4"]) == 4

    async def test_a_trimmed_sequence_never_comes_twice(self, store: CoordStore, other: CoordStore) -> None:
        await store.append("s", [b"1", b"2", b"3"])
        await store.trim("s", 3)
        assert await other.heads("s") == {"s": 3}
        assert await other.append("s", [b"4"]) == 4
        assert _numbered(await store.read("s", after=3)) == [(4, b"4")]

    async def test_reading_behind_a_trim_tells_where_the_stream_begins(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2", b"3", b"4"])
        await store.trim("s", 2)
        for after in (0, 1):
            with pytest.raises(Trimmed) as caught:
                await store.read("s", after=after)
            assert (caught.value.stream, caught.value.first) == ("s", 3)
            assert _numbered(await store.read("s", after=caught.value.first - 1)) == [(3, b"3"), (4, b"4")]

    async def test_a_stream_trimmed_to_its_end_tells_so_too(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2"])
        await store.trim("s", 2)
        with pytest.raises(Trimmed) as caught:
            await store.read("s")
        assert caught.value.first == 3
        assert await store.read("s", after=2) == []

    async def test_trim_beyond_the_head_removes_what_there_is(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2"])
        await store.trim("s", 99)
        assert await store.heads() == {"s": 2}
        assert await store.append("s", [b"3"]) == 3

    async def test_trim_again_or_lower_or_of_an_unknown_stream_does_nothing(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2", b"3"])
        await store.trim("s", 2)
        for name, upto in (("s", 2), ("s", 1), ("s", 0), ("t", 5)):
            await store.trim(name, upto)
        assert _numbered(await store.read("s", after=2)) == [(3, b"3")]
        assert await store.heads() == {"s": 3}

    async def test_a_trim_that_removes_nothing_takes_no_revision(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2"])
        await store.trim("s", 9)
        revision = (await store.list()).revision
        for name, upto in (("s", 1), ("s", 2), ("s", 9), ("t", 1)):
            await store.trim(name, upto)
        assert (await store.list()).revision == revision

    async def test_trim_leaves_other_streams(self, store: CoordStore) -> None:
        for name in ("s", "s/t", "s1"):
            await store.append(name, [b"1"])
        await store.trim("s", 1)
        assert len(await store.read("s/t")) == len(await store.read("s1")) == 1

    # --- drop -------------------------------------------------------------------------------------------

    async def test_drop_removes_a_stream_with_its_head_and_it_begins_anew_at_1(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2"])
        await store.drop("s")
        assert await store.heads() == {}
        assert await store.read("s") == []
        assert await store.append("s", [b"new"]) == 1
        assert _numbered(await store.read("s")) == [(1, b"new")]

    async def test_drop_of_a_trimmed_stream_forgets_the_trim(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2"])
        await store.trim("s", 2)
        await store.drop("s")
        assert await store.read("s") == []
        assert await store.append("s", [b"new"]) == 1
        assert _numbered(await store.read("s")) == [(1, b"new")]

    async def test_drop_removes_only_that_stream_and_of_an_unknown_one_nothing(self, store: CoordStore) -> None:
        for name in ("s", "s/t", "s1"):
            await store.append(name, [b"1"])
        await store.drop("s")
        await store.drop("unknown")
        assert await store.heads() == {"s/t": 1, "s1": 1}

    async def test_compaction_leaves_the_records(self, store: CoordStore) -> None:
        await store.append("s", [b"1", b"2"])
        await store.append("s", [b"3"])
        before = await store.read("s")
        await store.compact()
        assert await store.read("s") == before
        assert await store.append("s", [b"4"]) == 4
