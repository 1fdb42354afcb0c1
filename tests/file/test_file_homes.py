"""Records in the log, in homes of one file and of many, trimmed, dropped, begun anew: read and followed the same."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore import open_store
from coordstore.errors import Trimmed
from coordstore.model import Append, Record
from coordstore_file import homes
from coordstore_file.homes import layout_lines, line_of, parse
from coordstore_file.replica import HomeFile

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore import CoordStore

pytestmark = pytest.mark.req("S7", "S8", "S13")

data = st.one_of(
    st.binary(max_size=40),
    st.text(max_size=20).map(str.encode),
    st.sampled_from([b"", b" [1] ", b"NaN", b'{"a":1}\n', b'"\\ud800"', b"[" * 5000, b"1e999", b"\x00", b'"\x7f"']),
)


@given(data, st.integers(1, 2**60), st.integers(1, 2**60), st.integers(0, 63))
def test_a_line_gives_back_the_bytes(content: bytes, sequence: int, revision: int, position: int) -> None:
    record = Record("demo/s", sequence, revision, content)
    line = line_of(record, position)
    assert line.count(b"\n") == 1
    assert line.endswith(b"}\n")
    assert parse("demo/s", line) == (record, position)
    assert parse("demo/t", line) is None


@given(data, st.data())
def test_a_changed_line_is_the_same_record_or_none(content: bytes, chance: st.DataObject) -> None:
    record = Record("s", 7, 8, content)
    line = bytearray(line_of(record, 1))
    place = chance.draw(st.integers(0, len(line) - 1))
    line[place] ^= chance.draw(st.integers(1, 255))
    # JSON has two spellings of some characters; the record must be right, not the spelling.
    assert parse("s", bytes(line)) in (None, (record, 1))


@given(st.lists(st.integers(0, 400), min_size=1, max_size=40), st.integers(1, 39))
def test_lines_come_to_lie_in_the_same_places_however_often_they_are_laid_out(sizes: list[int], cut: int) -> None:
    records = [(Record("s", n + 1, n // 2 + 1, b"x" * size), n % 2) for n, size in enumerate(sizes)]
    cut -= cut % 2
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(homes, "ROLL", 700)
        whole = layout_lines([], records)
        files: list[HomeFile] = []
        parts = []
        for piece in (*layout_lines([], records[:cut]),):
            parts.append(piece)
            files.append(HomeFile(piece.sequence, piece.revision, len(piece.data)))
        parts += layout_lines(files, records[cut:])
    assert joined(whole) == joined(parts)
    assert len({piece.revision for piece in whole}) == len(whole)


def joined(pieces: list[homes.Piece]) -> dict[int, bytes]:
    files: dict[int, bytes] = {}
    for piece in pieces:
        assert len(files.get(piece.revision, b"")) == piece.offset
        files[piece.revision] = files.get(piece.revision, b"") + piece.data
    return files


async def followed(store: CoordStore, count: int, prefix: str = "", **after: int) -> list[Record]:
    found: list[Record] = []
    async with aclosing(store.follow(prefix, after or None)) as feed:
        async for record in feed:
            found.append(record)
            if len(found) == count:
                return found
    raise AssertionError


@pytest.mark.parametrize("seed", range(3))
async def test_records_are_the_same_wherever_they_are(url: str, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(homes, "ROLL", 2000)
    monkeypatch.setattr(homes, "_NEAR", 300)
    chance = random.Random(seed)
    expected: list[Record] = []
    heads = {"a": 0, "a/b": 0, "c": 0}
    async with open_store(url) as store, open_store(url) as other:
        for step in range(120):
            streams = [chance.choice(list(heads)) for _ in range(chance.randrange(1, 4))]
            appends = [Append(name, chance.randbytes(chance.randrange(1, 90))) for name in streams]
            revision = await store.transact(appends=appends)
            for append in appends:
                heads[append.stream] += 1
                expected.append(Record(append.stream, heads[append.stream], revision, append.data))
            if step in (30, 31, 70, 100):
                await (store, other)[step % 2].compact()
            if step % 20 == 19:
                for handle in (store, other):
                    await check(handle, expected, heads, chance)
    async with open_store(url) as store:
        await check(store, expected, heads, chance)


async def check(store: CoordStore, expected: list[Record], heads: dict[str, int], chance: random.Random) -> None:
    assert await store.heads() == {name: head for name, head in heads.items() if head}
    for name, head in heads.items():
        mine = [record for record in expected if record.stream == name]
        assert await store.read(name) == mine
        for _ in range(5):
            after, limit = chance.randrange(head + 1), chance.randrange(1, 9)
            assert await store.read(name, after, limit) == mine[after : after + limit]
    assert await followed(store, len(expected)) == expected
    below = [record for record in expected if record.stream.startswith("a")]
    assert await followed(store, len(below), "a") == below
    at = {name: chance.randrange(head) for name, head in heads.items() if head > 1}
    rest = [record for record in expected if record.sequence > at.get(record.stream, 0)]
    assert await followed(store, len(rest), "", **at) == rest


async def test_trimmed_and_dropped_files_go_and_a_new_stream_begins_at_one(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(homes, "ROLL", 500)
    async with open_store(url) as store, open_store(url) as other:
        for number in range(40):
            await store.append("s", [b"record number %d" % number])
        await store.compact()
        files = len(list((path / "s").iterdir()))
        assert files > 4
        await store.trim("s", 35)
        with pytest.raises(Trimmed):
            await other.read("s", after=3)
        assert [record.sequence for record in await other.read("s", after=35)] == [36, 37, 38, 39, 40]
        await store.compact()
        assert len(list((path / "s").iterdir())) < files
        assert [record.sequence for record in await other.read("s", after=35)] == [36, 37, 38, 39, 40]
        assert [record.sequence for record in await followed(other, 5)] == [36, 37, 38, 39, 40]
        await store.append("s", [b"41"])
        await store.drop("s")
        await store.append("s", [b"anew"])
        assert [(r.sequence, r.data) for r in await other.read("s")] == [(1, b"anew")]
        await other.compact()
        assert [(r.sequence, r.data) for r in await store.read("s")] == [(1, b"anew")]
        assert [(r.sequence, r.data) for r in await followed(store, 1)] == [(1, b"anew")]
        await store.drop("s")
        await store.compact()
    assert not (path / "s").exists()
    async with open_store(url) as store:
        assert await store.heads() == {}


@pytest.mark.parametrize("options", ["", "?durability=process"])
async def test_the_log_is_compacted_by_itself_and_its_size_is_bounded(
    path: Path, url: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordstore_file.compaction.LOG_BYTES", 20_000)
    monkeypatch.setattr("coordstore_file.journal._SEGMENT", 40_000)
    async with open_store(url + options) as store:
        async with aclosing(store.watch("k")) as feed:
            await anext(feed)
            for number in range(300):
                await store.put(f"k/{number % 7}", b"x" * 1000)
                assert (await anext(feed)).changes[0].key == f"k/{number % 7}"
        while not store.statistics().get("compactions"):
            await store.append("s", [b"x" * 3000])
        floor = (await store.info()).floor
        async with aclosing(store.watch("k", since=floor)) as feed:
            assert not (await anext(feed)).reset
    assert sum(file.stat().st_size for file in (path / ".coord/log").iterdir()) < 500_000
    assert len(list((path / ".coord/snapshot").iterdir())) == 1


async def test_compaction_gives_way_to_a_burst_and_follows_when_it_is_over(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordstore_file.compaction.LOG_BYTES", 20_000)
    monkeypatch.setattr("coordstore_file.upkeep._BUSY", 0)
    monkeypatch.setattr("coordstore_file.upkeep._SLICE", -1)
    async with open_store(url) as store:
        for _ in range(40):
            await store.append("s", [b"x" * 1000])
        # Nothing is committed any more, so nobody but upkeep itself can make it look again.
        while not store.statistics().get("compactions"):  # noqa: ASYNC110  (a counter tells nobody that it has moved)
            await asyncio.sleep(0.01)
    assert len(list((path / ".coord/snapshot").iterdir())) == 1


@pytest.mark.parametrize("last", [b"", b'{"sequence":3', b"no line\n"])
async def test_the_end_of_lines_is_found_behind_what_is_damaged(path: Path, url: str, last: bytes) -> None:
    async with open_store(url) as store:
        await store.append("s", [b"x" * 9000, b"two"])
    (file,) = (path / "s").iterdir()
    with file.open("ab") as lines:
        lines.write(last)
    async with open_store(url) as store:
        await store.append("s", [b"three"])
    assert [line[:13] for line in file.read_bytes().splitlines()] == [
        b'{"sequence":%d' % number for number in (1, 2, 3)
    ]
