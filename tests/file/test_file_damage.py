"""Damage of every byte: the right value, or Corrupt, never a wrong value and never a store begun anew."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore import open_store
from coordstore.engine import Commit
from coordstore.errors import Corrupt, VersionMismatch
from coordstore.model import Append, Change, Delete, Entry, Put, Record
from coordstore_file._fs import OsFileSystem
from coordstore_file.frames import decode, encode, framed, walk
from coordstore_file.mark import Mark

if TYPE_CHECKING:
    from pathlib import Path

keys = st.sampled_from(["a", "a/b", "c.d/e-f"])
numbers = st.integers(1, 2**62)
entries = st.builds(Entry, keys, st.binary(max_size=9), st.just(7), numbers, st.none() | numbers)
commits = st.builds(
    Commit,
    st.just(7),
    st.lists(st.builds(Change, keys, st.none()) | entries.map(lambda e: Change(e.key, e)), max_size=4).map(tuple),
    st.lists(st.builds(Record, keys, numbers, st.just(7), st.binary(max_size=9)), max_size=4).map(tuple),
    st.dictionaries(keys, numbers, max_size=2),
    st.lists(keys, max_size=2).map(tuple),
)


@given(commits)
def test_a_commit_survives_being_bytes(commit: Commit) -> None:
    assert decode(encode(commit)) == commit


@given(st.lists(st.binary(min_size=1, max_size=50), min_size=1, max_size=5), st.data())
def test_frames_are_read_up_to_the_first_bad_byte_and_never_wrong(contents: list[bytes], data: Any) -> None:
    raw, check, ends = b"", 1, [0]
    for content in contents:
        frame, check = framed(content, check)
        raw += frame
        ends.append(len(raw))
    broken = bytearray(raw)
    place = data.draw(st.integers(0, len(raw) - 1))
    broken[place] ^= data.draw(st.integers(1, 255))
    whole = sum(end <= place for end in ends) - 1
    assert list(read_back(raw)) == contents
    assert list(read_back(bytes(broken))) == contents[:whole]
    assert list(read_back(raw[:place])) == contents[:whole]
    zeros = bytes(place)
    assert list(read_back(zeros)) == []
    assert list(read_back(raw + zeros)) == contents
    assert list(read_back(raw[ends[1] :], 1)) == []


def read_back(raw: bytes, before: int = 1) -> list[bytes]:
    class Bytes(OsFileSystem):
        def read(self, handle: int, length: int, offset: int) -> bytes:
            return raw[offset : offset + length]

    return [content for _, content, _ in walk(Bytes(), 0, 0, len(raw), before)]


async def fill(url: str) -> None:
    async with open_store(url) as store:
        await store.transact([Put("a", b"alpha"), Put("b/c", b"beta")], appends=[Append("s", b'{"one":1}')])
        await store.put("gone", b"")
        await store.append("s", [b"\xfftwo", b"three"])
        await store.compact()
        await store.transact([Put("a", b"ALPHA"), Delete("gone")], appends=[Append("s", b"four")])


async def check(url: str, *, records: int = 4) -> None:
    """Read everything: right, or an error that says so."""
    async with open_store(url) as store:
        entry = await store.get("a")
        assert entry is not None
        assert (entry.value, entry.revision, entry.create_revision) == (b"ALPHA", 4, 1)
        listing = await store.list()
        assert [(e.key, e.value) for e in listing.entries] == [("a", b"ALPHA"), ("b/c", b"beta")]
        found = [record.data for record in await store.read("s")]
        assert found == [b'{"one":1}', b"\xfftwo", b"three", b"four"][:records]


def truth(path: Path) -> list[Path]:
    """Return the files that hold the store's truth: not the locks, the lease table, or the view."""
    inner = [path / ".coord" / name for name in ("id", "mark")]
    return inner + [f for f in path.rglob("*") if f.is_file() and (f.parent.name in ("log", "snapshot", "s"))]


@pytest.mark.timeout(120)
@pytest.mark.parametrize("boot", ["this", "another"])
async def test_a_flipped_byte_gives_the_right_value_or_corrupt(
    path: Path, url: str, boot: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(url)
    good = path.with_name("good")
    shutil.copytree(path, good)
    if boot == "another":
        monkeypatch.setattr("coordstore_file.opening.boot_id", lambda: b"b" * 16)
    refused = 0
    chance = random.Random(5)
    for file in truth(path):
        whole = file.read_bytes()
        for place in chance.sample(range(len(whole)), min(len(whole), 60)):
            shutil.rmtree(path)
            shutil.copytree(good, path)
            broken = bytearray(whole)
            broken[place] ^= 1 << chance.randrange(8)
            file.write_bytes(broken)
            try:
                await check(url)
            except (Corrupt, VersionMismatch):
                refused += 1
                assert file.name == "mark" or file.read_bytes() == broken, "nothing is changed by a refusal"
    assert refused > 100


@pytest.mark.parametrize("name", ["log", "snapshot", "s"])
async def test_a_file_that_is_cut_off_gives_the_right_value_or_corrupt(path: Path, url: str, name: str) -> None:
    await fill(url)
    good = path.with_name("good")
    shutil.copytree(path, good)
    (file,) = (f for f in truth(path) if f.parent.name == name)
    whole = file.read_bytes()
    for length in range(0, len(whole), 7):
        shutil.rmtree(path)
        shutil.copytree(good, path)
        file.write_bytes(whole[:length])
        durable = name != "s" or length < whole.index(b'"sequence":4')
        if durable:
            with pytest.raises(Corrupt):
                await check(url)
        else:
            await check(url)


async def test_a_torn_tail_is_cut_off_and_a_whole_one_taken_over(path: Path, url: str) -> None:
    async with open_store(url) as store:
        await store.put("a", b"1")
        mark = (path / ".coord/mark").read_bytes()
        await store.put("a", b"2")
        await store.put("a", b"3")
    log = path / ".coord/log/000000000001"
    whole = log.read_bytes()
    parsed, _ = Mark.parse(mark)
    assert parsed is not None
    size = parsed.committed.offset
    assert 0 < size < len(whole)
    seen = set()
    for length in range(size, len(whole) + 1):
        for rest in (b"", b"\0" * 300, b"\x01junk"):
            log.write_bytes(whole[:length] + rest)
            (path / ".coord/mark").write_bytes(mark)
            async with open_store(url) as store:
                await store.put("b", b"")
                entry = await store.get("a")
                assert entry is not None
                seen.add((entry.value, (await store.info()).revision))
    assert seen == {(b"1", 2), (b"2", 3), (b"3", 4)}


async def test_after_a_reboot_the_log_tells_how_far_it_reaches(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(url) as store:
        await store.put("a", b"1")
        mark = (path / ".coord/mark").read_bytes()
        await store.put("a", b"2")
    # The mark is not synced: a power cut may leave an old one beside a log that was acknowledged.
    (path / ".coord/mark").write_bytes(mark)
    with (path / ".coord/log/000000000001").open("ab") as file:
        file.write(b"\0" * 4096)
    monkeypatch.setattr("coordstore_file.opening.boot_id", lambda: b"b" * 16)
    async with open_store(url) as store:
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"2"


async def test_without_syncs_a_reboot_may_cost_the_tail_but_never_the_store(
    path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_store(f"{url}?durability=process") as store:
        await store.put("a", b"1")
        await store.put("a", b"2")
    log = path / ".coord/log/000000000001"
    whole = log.read_bytes()
    log.write_bytes(whole[:-3] + b"\0\0\0")
    with pytest.raises(Corrupt):
        await anything(url)
    monkeypatch.setattr("coordstore_file.opening.boot_id", lambda: b"b" * 16)
    async with open_store(url) as store:
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"1"
        await store.put("a", b"3")


async def anything(url: str) -> None:
    async with open_store(url) as store:
        await store.get("a")


async def test_damage_of_one_record_leaves_all_else_readable(path: Path, url: str) -> None:
    async with open_store(url) as store:
        await store.transact([Put("a", b"1")], appends=[Append("s", b"one"), Append("t", b"two")])
        await store.compact()
    (file,) = (path / "s").iterdir()
    file.write_bytes(file.read_bytes().replace(b"one", b"eno"))
    async with open_store(url) as store:
        with pytest.raises(Corrupt, match="@0"):
            await store.read("s")
        assert [record.data for record in await store.read("t")] == [b"two"]
        assert await store.get("a") is not None
        await store.append("s", [b"more"])
        assert [record.data for record in await store.read("s", after=1)] == [b"more"]
