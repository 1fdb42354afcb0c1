"""Records get their places many at a time; what is asked for is the same on both sides of that border."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.checkup import Finding, Level
from coordstore.errors import Trimmed
from coordstore.url import StoreURL
from coordstore_sqlite import draft
from coordstore_sqlite.checkup import checkup

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore.store import CoordStore

TO_FORMAT_1 = """
DROP TABLE places;
CREATE UNIQUE INDEX records_by_stream ON records (stream, sequence);
ALTER TABLE meta DROP COLUMN placed;
UPDATE meta SET format = 1;
PRAGMA user_version = 1;
"""

pytestmark = pytest.mark.req("S6", "S12")

APPENDS = 12


@pytest.fixture(params=[1, 3, 5, APPENDS, APPENDS + 1, 1024])
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Path:
    """A place for a store in which so many revisions go without places."""
    monkeypatch.setattr(draft, "_UNPLACED", request.param)
    return tmp_path / "store.db"


def asked(path: Path, sql: str) -> list[tuple[Any, ...]]:
    """Ask the database itself."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute(sql).fetchall()


async def fill(store: CoordStore) -> None:
    """Append to two streams in turn, one record each time."""
    for number in range(APPENDS):
        await store.append("s/even" if number % 2 == 0 else "s/odd", [b"%d" % number])


async def numbers(store: CoordStore, stream: str, after: int = 0, limit: int | None = None) -> list[int]:
    return [int(record.data) for record in await store.read(stream, after=after, limit=limit)]


async def test_a_stream_is_read_across_the_border(path: Path) -> None:
    async with open_store(f"sqlite:{path}") as store:
        await fill(store)
        whole = list(range(0, APPENDS, 2))
        for after in range(len(whole) + 1):
            for limit in (1, 2, 3, len(whole), None):
                assert await numbers(store, "s/even", after, limit) == whole[after:][:limit]
        assert await store.read("nobody") == []


async def test_each_record_has_a_place_up_to_the_border_and_none_above(path: Path) -> None:
    async with open_store(f"sqlite:{path}") as store:
        await fill(store)
    ((placed,),) = asked(path, "SELECT placed FROM meta")
    assert placed == APPENDS // draft._UNPLACED * draft._UNPLACED
    records = asked(path, "SELECT stream, sequence, revision, position FROM records ORDER BY stream, sequence")
    assert len(records) == APPENDS
    below = [row for row in records if row[2] <= placed]
    assert asked(path, "SELECT * FROM places ORDER BY stream, sequence") == below


async def test_trimmed_and_dropped_records_are_gone_on_both_sides(path: Path) -> None:
    async with open_store(f"sqlite:{path}") as store:
        await fill(store)
        await store.trim("s/even", 4)
        assert await numbers(store, "s/even", 4) == [8, 10]
        with pytest.raises(Trimmed):
            await store.read("s/even", after=2)
        await store.drop("s/odd")
        assert await store.read("s/odd") == []
        assert await store.append("s/odd", [b"100"]) == 1
        assert await numbers(store, "s/odd") == [100]
        await store.trim("s/even", 6)
        assert await store.heads("s") == {"s/even": 6, "s/odd": 1}
    assert asked(path, "SELECT stream, sequence FROM records") == [("s/odd", 1)]
    assert set(asked(path, "SELECT stream FROM places")) <= {("s/odd",)}


async def test_a_follow_begins_on_either_side(path: Path) -> None:
    async with open_store(f"sqlite:{path}") as store:
        await fill(store)
        await store.trim("s/even", 1)
        for after in ({}, {"s/even": 3}, {"s/even": 6, "s/odd": 5}):
            wanted = [n for n in range(1, APPENDS) if n // 2 + 1 > after.get("s/odd" if n % 2 else "s/even", n == 0)]
            seen: list[int] = []
            async with asyncio.timeout(10):
                async for record in store.follow("s", after=after):
                    seen.append(int(record.data))
                    if len(seen) == len(wanted):
                        break
            assert seen == wanted


def make_older(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(TO_FORMAT_1)


def wrong(url: str) -> list[Finding]:
    """Return what `coord doctor` has to say against the database."""
    about = {"format", "integrity", "content"}
    return [each for each in checkup(StoreURL.parse(url)) if each.check in about and each.level is not Level.OK]


@pytest.mark.skipif(sqlite3.sqlite_version_info < (3, 35), reason="this SQLite cannot make the old format")
async def test_a_store_of_format_1_is_brought_up_to_date_by_whoever_opens_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "store.db"
    url = f"sqlite:{path}"
    async with open_store(url) as store:
        await store.put("k", b"v")
        await fill(store)
        await store.trim("s/even", 2)
    await asyncio.to_thread(make_older, path)
    assert "brings it up to date" in str(await asyncio.to_thread(wrong, url))
    # What was there has its places already: only what is new gets one.
    monkeypatch.setattr(draft, "_UNPLACED", 1)
    # Both find it old; the second one finds that it is done.
    async with open_store(url) as store, open_store(url) as other:
        assert await numbers(store, "s/even", 2) == list(range(4, APPENDS, 2))
        assert await numbers(other, "s/odd") == list(range(1, APPENDS, 2))
        assert await other.append("s/odd", [b"100"]) == APPENDS // 2 + 1
        assert await store.get("k")
    assert await asyncio.to_thread(wrong, url) == []
