"""Every read: each function is one short read transaction on a connection, so one consistent cut.

A row that fails its checksum is `Corrupt`, never a wrong value. Pages are bounded in rows, bytes and in how far
they scan, so that no reader holds an old snapshot for long.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from coordstore.engine import trimmed
from coordstore.errors import Corrupt
from coordstore.model import Change, Entry, Listing, Record
from coordstore.names import prefix_bounds
from coordstore.store.feeds import ChangePage, FollowStart, RecordPage
from coordstore_sqlite.faults import checksum, damaged

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Mapping

__all__ = [
    "Cut",
    "changes",
    "covered",
    "cut",
    "entry",
    "follow_start",
    "heads",
    "leased",
    "listing",
    "read",
    "records",
]

Row = tuple[Any, ...]

_PAGE_BYTES: Final = 4 * 1024 * 1024
_SCAN: Final = 20_000
"""Rows that one page looks at, at most, also when few of them are under the prefix."""


class Cut:
    """A read transaction: the store's identity and revision, and the connection to ask."""

    __slots__ = ("database", "floor", "placed", "revision", "store_id")

    def __init__(self, database: sqlite3.Connection) -> None:
        row = database.execute("SELECT store_id, revision, floor, placed FROM meta WHERE id = 1").fetchone()
        if row is None:
            message = "the store has lost its identity (table meta): restore it from a backup; nothing was changed"
            raise Corrupt(message)
        self.store_id, self.revision, self.floor, self.placed = row
        self.database = database


@contextmanager
def cut(database: sqlite3.Connection) -> Iterator[Cut]:
    """Open a read transaction for the body."""
    database.execute("BEGIN")
    try:
        yield Cut(database)
    finally:
        if database.in_transaction:
            database.execute("ROLLBACK")


def entry(at: Cut, key: str) -> Entry | None:
    """Return the entry of a key."""
    found = at.database.execute(f"{_ENTRY} WHERE key = ?", (key,)).fetchone()
    return None if found is None else _entry(found)


def listing(at: Cut, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
    """Return a cut of a prefix; see `CoordStore.list`."""
    where, bounds = covered("key", prefix, after)
    columns = _KEYS if keys_only else _ENTRY
    sql = f"{columns} WHERE {where} ORDER BY key LIMIT ?"
    rows = at.database.execute(sql, (*bounds, -1 if limit is None else limit + 1)).fetchall()
    more = limit is not None and len(rows) > limit
    made = _bare if keys_only else _entry
    return Listing(at.revision, [made(row) for row in rows[:limit]], more)


def leased(at: Cut) -> dict[int, list[str]]:
    """Return the keys that hang on leases, by lease, sorted."""
    found: dict[int, list[str]] = {}
    for lease, key in at.database.execute("SELECT lease, key FROM entries WHERE lease IS NOT NULL ORDER BY lease, key"):
        found.setdefault(lease, []).append(key)
    return found


def changes(at: Cut, prefix: str, since: int, limit: int) -> ChangePage:
    """Return the changes of a prefix above a revision; see `FeedSource.changes_since`."""
    if since < at.floor or since >= at.revision:
        return ChangePage([], at.revision, at.floor, more=False)
    end = _window(at, "changes", since)
    where, bounds = covered("key", prefix)
    sql = f"{_CHANGE} WHERE revision > ? AND revision <= ? AND {where} ORDER BY revision, position"
    rows, last = _page(at.database.execute(sql, (since, end, *bounds)), limit)
    upto = end if last is None else last
    batches: dict[int, list[Change]] = {}
    for row in rows:
        batches.setdefault(row[0], []).append(_change(row))
    return ChangePage(list(batches.items()), upto, at.floor, more=upto < at.revision)


def records(at: Cut, prefix: str, since: int, limit: int) -> RecordPage:
    """Return the records of a prefix above a revision; see `FeedSource.records_since`."""
    if since >= at.revision:
        return RecordPage([], at.revision, more=False)
    end = _window(at, "records", since)
    where, bounds = covered("stream", prefix)
    sql = f"{_RECORD} WHERE revision > ? AND revision <= ? AND {where} ORDER BY revision, position"
    rows, last = _page(at.database.execute(sql, (since, end, *bounds)), limit)
    upto = end if last is None else last
    return RecordPage([_record(row) for row in rows], upto, more=upto < at.revision)


def read(at: Cut, stream: str, after: int, limit: int | None) -> list[Record]:
    """Return records of a stream; see `CoordStore.read`."""
    span = at.database.execute("SELECT first, head FROM streams WHERE name = ?", (stream,)).fetchone()
    if span is None:
        return []
    first, head = span
    if after < first - 1:
        raise trimmed(stream, first)
    most = head if limit is None else limit
    rows = at.database.execute(_PLACED, (stream, after, most)).fetchall()
    reached = rows[-1][2] if rows else after
    if len(rows) < most and reached < head:
        rows += at.database.execute(_UNPLACED, (at.placed, stream, reached, most - len(rows)))
    return [_record(row) for row in rows]


def heads(at: Cut, prefix: str) -> dict[str, int]:
    """Return the last sequences of the streams under a prefix."""
    return {name: head for name, (_, head) in _spans(at, prefix).items()}


def follow_start(at: Cut, prefix: str, after: Mapping[str, int]) -> FollowStart:
    """Return where a follow begins; see `FeedSource.follow_start`."""
    spans = _spans(at, prefix)
    if not after:
        return FollowStart(spans, at.revision, _first_revisions(at, prefix))
    wanted = ((name, max(after.get(name, 0) + 1, first)) for name, (first, head) in spans.items() if head)
    found = [_revision_of(at, *place) for place in wanted]
    return FollowStart(spans, at.revision, [revision for revision in found if revision is not None])


def _revision_of(at: Cut, stream: str, sequence: int) -> int | None:
    sql = "SELECT revision FROM places WHERE stream = ? AND sequence = ?"
    newer = "SELECT revision FROM records WHERE revision > ? AND stream = ? AND sequence = ?"
    row = at.database.execute(sql, (stream, sequence)).fetchone()
    row = row or at.database.execute(newer, (at.placed, stream, sequence)).fetchone()
    return None if row is None else int(row[0])


def _first_revisions(at: Cut, prefix: str) -> list[int]:
    """Return the lowest revision of a record that is still there, if any: two questions, not one for each stream."""
    where, bounds = covered("name", prefix)
    # CROSS: for each stream its first place; the other way round all places would be looked at.
    joined = "streams CROSS JOIN places ON stream = name AND sequence = first"
    placed = f"SELECT min(revision) FROM {joined} WHERE {where}"  # noqa: S608  (ours)
    row = at.database.execute(placed, bounds).fetchone()
    if row[0] is None:
        where, bounds = covered("stream", prefix)
        newer = f"SELECT min(revision) FROM records WHERE revision > ? AND {where}"  # noqa: S608  (ours)
        row = at.database.execute(newer, (at.placed, *bounds)).fetchone()
    return [] if row[0] is None else [row[0]]


_ENTRY = "SELECT key, revision, create_revision, lease, checksum, value FROM entries"
_KEYS = "SELECT key, revision, create_revision, lease FROM entries"
_CHANGE = "SELECT revision, key, create_revision, lease, checksum, value FROM changes"
_RECORD = "SELECT revision, stream, sequence, checksum, data FROM records"
_PLACED = (
    "SELECT revision, stream, places.sequence, checksum, data "
    "FROM places JOIN records USING (revision, position, stream) "
    "WHERE stream = ? AND places.sequence > ? ORDER BY places.sequence LIMIT ?"
)
_UNPLACED = f"{_RECORD} WHERE revision > ? AND stream = ? AND sequence > ? ORDER BY revision, position LIMIT ?"


def covered(column: str, prefix: str, after: str | None = None) -> tuple[str, tuple[str, ...]]:
    """Return the condition that a name is under a prefix, and behind another name, as one range of an index."""
    exact, low, high = prefix_bounds(prefix)
    lowest = low if exact is None else exact
    where = f"{column} >= ? AND {column} < ?"
    bounds: tuple[str, ...] = (lowest, high)
    if after is not None and after >= lowest:
        where, bounds = f"{column} > ? AND {column} < ?", (after, high)
    if exact is not None:
        # Between a key and what is below it, names like `a-b` and `a.b` are sorted.
        where, bounds = f"{where} AND ({column} = ? OR {column} >= ?)", (*bounds, exact, low)
    return where, bounds


def _window(at: Cut, table: str, since: int) -> int:
    """Return the revision up to which one page looks."""
    sql = f"SELECT revision FROM {table} WHERE revision > ? ORDER BY revision LIMIT 1 OFFSET {_SCAN}"  # noqa: S608  (ours)
    row = at.database.execute(sql, (since,)).fetchone()
    return int(row[0]) if row else int(at.revision)


def _page(rows: Iterator[Row], limit: int) -> tuple[list[Row], int | None]:
    """Take whole revisions until there is enough; tell the last one when something is left."""
    taken: list[Row] = []
    size = 0
    for row in rows:
        if (len(taken) >= limit or size >= _PAGE_BYTES) and row[0] != taken[-1][0]:
            return taken, int(taken[-1][0])
        taken.append(row)
        size += len(row[-1] or b"")
    return taken, None


def _spans(at: Cut, prefix: str) -> dict[str, tuple[int, int]]:
    where, bounds = covered("name", prefix)
    rows = at.database.execute(f"SELECT name, first, head FROM streams WHERE {where} ORDER BY name", bounds)  # noqa: S608  (ours)
    return {name: (first, head) for name, first, head in rows}


def _bare(row: Row) -> Entry:
    key, revision, created, lease = row
    return Entry(key, b"", revision, created, lease)


def _entry(row: Row) -> Entry:
    key, revision, created, lease, check, value = row
    if not isinstance(value, bytes) or checksum(value, key, revision, created, lease) != check:
        raise damaged(key)
    return Entry(key, value, revision, created, lease)


def _change(row: Row) -> Change:
    revision, key, created, lease, check, value = row
    if checksum(value or b"", key, revision, created, lease) != check:
        raise damaged(key, revision)
    return Change(key, None if created is None else Entry(key, value, revision, created, lease))


def _record(row: Row) -> Record:
    revision, stream, sequence, check, data = row
    if not isinstance(data, bytes) or checksum(data, stream, sequence, revision) != check:
        raise damaged(stream, sequence)
    return Record(stream, sequence, revision, data)
