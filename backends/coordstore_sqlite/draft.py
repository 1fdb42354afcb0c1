"""What one batch is about to write: read through to the database, kept in memory, flushed before the commit.

All requests of a batch see what those before them did. Rows are written by a few `executemany`, which is what
makes sixty callers at once cheaper than sixty transactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore_sqlite.faults import checksum, record_checksum
from coordstore_sqlite.reads import Cut, covered

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

    from coordstore.model import Append, Put

__all__ = ["Draft", "Known", "Seen"]


class Seen(NamedTuple):
    """What checks look at; an absent key is (0, 0)."""

    revision: int
    create_revision: int


_ABSENT: Final = Seen(0, 0)
_KNOWN: Final = 4096
"""Streams whose heads are remembered from one draft to the next, at most."""
_PURGE: Final = 500
"""Revisions of history that go at once."""
_UNPLACED: Final = 512
"""Revisions whose records are found by looking through them, before they get their places all at once.

Each stream that grows has a page of `places` of its own: to write those at every commit would be most of its work.
"""


class Known:
    """The heads of streams at a revision, as one connection saw them.

    Args:
        version: The connection's ``data_version``, which another connection's commit changes.
        revision: The store's revision.
        heads: The last sequences; 0: there is no such stream.
    """

    def __init__(self, version: int, revision: int, heads: dict[str, int]) -> None:
        self.version = version
        self.revision = revision
        self._heads = heads

    def take(self) -> dict[str, int]:
        """Return the heads, once."""
        heads, self._heads, self.revision = self._heads, {}, -1
        return heads


class Draft:
    """The state of the store inside one write transaction.

    Args:
        database: A connection inside its transaction.
        known: What an earlier draft left behind; taken over where nobody has written since.
    """

    def __init__(self, database: sqlite3.Connection, known: Known | None = None) -> None:
        at = Cut(database)
        self.database = database
        self.store_id = at.store_id
        self.before = self.revision = int(at.revision)
        self.floor = int(at.floor)
        self._placed = int(at.placed)
        self._floor_before = self.floor
        self._seen: dict[str, Seen] = {}
        self._version = int(database.execute("PRAGMA data_version").fetchone()[0])
        fresh = known is not None and (known.version, known.revision) == (self._version, self.revision)
        # Taken, not shared: what this draft notes in it counts only once it is committed.
        self._heads: dict[str, int] = known.take() if known is not None and fresh else {}
        self._puts: dict[str, tuple[object, ...]] = {}
        self._deletes: set[str] = set()
        self._changes: list[tuple[object, ...]] = []
        self._records: list[tuple[object, ...]] = []
        self._moved_heads: set[str] = set()
        self._new: set[str] = set()
        self.swept = False
        self.purged = 0

    @property
    def changed(self) -> bool:
        """Whether there is anything to commit."""
        return self.revision > self.before or self.floor > self._floor_before or self.purged > 0

    # --- looking ----------------------------------------------------------------------------------------

    def look(self, key: str) -> Seen:
        """Return a key's revisions."""
        seen = self._seen.get(key)
        if seen is None:
            sql = "SELECT revision, create_revision FROM entries WHERE key = ?"
            row = self.database.execute(sql, (key,)).fetchone()
            seen = self._seen[key] = Seen(*row) if row else _ABSENT
        return seen

    def head(self, stream: str) -> int:
        """Return the last sequence of a stream; 0: there is none."""
        head = self._heads.get(stream)
        if head is None:
            row = self.database.execute("SELECT head FROM streams WHERE name = ?", (stream,)).fetchone()
            head = self._heads[stream] = row[0] if row else 0
        return head

    def keys_under(self, prefix: str) -> list[str]:
        """Return the keys that a prefix covers, sorted."""
        self.flush()
        where, bounds = covered("key", prefix)
        return self._names(f"SELECT key FROM entries WHERE {where} ORDER BY key", bounds)  # noqa: S608  (ours)

    def keys_on(self, lease: int) -> list[str]:
        """Return the keys that hang on a lease, sorted."""
        self.flush()
        return self._names("SELECT key FROM entries WHERE lease = ? ORDER BY key", (lease,))

    def held(self) -> list[int]:
        """Return the leases that keys hang on."""
        self.flush()
        return [row[0] for row in self.database.execute("SELECT DISTINCT lease FROM entries WHERE lease IS NOT NULL")]

    # --- writing ----------------------------------------------------------------------------------------

    def put(self, position: int, write: Put) -> None:
        """Write a key at the current revision."""
        key, value, lease = write.key, write.value, write.lease
        revision, created = self.revision, self.look(write.key).create_revision or self.revision
        check = checksum(value, key, revision, created, lease)
        self._seen[key] = Seen(revision, created)
        self._puts[key] = (key, revision, created, lease, check, value)
        self._changes.append((revision, position, key, created, lease, check, value))

    def delete(self, position: int, key: str) -> bool:
        """Remove a key at the current revision; return whether it was there."""
        if not self.look(key).revision:
            return False
        self._seen[key] = _ABSENT
        self._puts.pop(key, None)
        self._deletes.add(key)
        check = checksum(b"", key, self.revision, None, None)
        self._changes.append((self.revision, position, key, None, None, check, None))
        return True

    def append(self, position: int, append: Append) -> int:
        """Add a record at the current revision; return its sequence."""
        stream, data, revision = append.stream, append.data, self.revision
        sequence = self._heads[stream] = (self._heads.get(stream) or self.head(stream)) + 1
        self._moved_heads.add(stream)
        if sequence == 1:
            self._new.add(stream)
        check = record_checksum(data, stream, sequence, revision)
        self._records.append((revision, position, stream, sequence, check, data))
        return sequence

    def delete_all(self, keys: Iterable[str]) -> int:
        """Remove keys at one new revision, if there are any; return how many."""
        found = list(keys)
        if found:
            self.revision += 1
            for position, key in enumerate(found):
                self.delete(position, key)
        return len(found)

    def trim(self, stream: str, upto: int) -> None:
        """Remove the records of a stream up to a sequence."""
        self.flush()
        row = self.database.execute("SELECT first, head FROM streams WHERE name = ?", (stream,)).fetchone()
        if row is None or min(upto, row[1]) < row[0]:
            return
        self.revision += 1
        first = min(upto, row[1]) + 1
        self._remove(stream, first)
        self.database.execute("UPDATE streams SET first = ? WHERE name = ?", (first, stream))

    def drop(self, stream: str) -> None:
        """Remove a stream with its head."""
        self.flush()
        if self.head(stream):
            self.revision += 1
            self._remove(stream, self._heads[stream] + 1)
            self.database.execute("DELETE FROM streams WHERE name = ?", (stream,))
            self._heads[stream] = 0

    def _remove(self, stream: str, below: int) -> None:
        """Remove the records of a stream below a sequence."""
        database = self.database
        database.execute(f"DELETE FROM records WHERE (revision, position) IN ({_PLACES})", (stream, below))  # noqa: S608  (ours)
        database.execute("DELETE FROM places WHERE stream = ? AND sequence < ?", (stream, below))
        newer = "DELETE FROM records WHERE revision > ? AND stream = ? AND sequence < ?"
        database.execute(newer, (self._placed, stream, below))

    def _place(self) -> None:
        """Give records their places, where many have none."""
        if self.revision - self._placed >= _UNPLACED:
            self.database.execute(_PLACE, (self._placed,))
            self._placed = self.revision

    def forget(self, floor: int) -> None:
        """Raise the compaction floor; the rows below it go in steps, later."""
        self.floor = max(self.floor, min(floor, self.revision))

    def purge(self) -> int:
        """Remove a bounded number of revisions below the floor from the history; return how many changes went."""
        row = self.database.execute("SELECT min(revision) FROM changes").fetchone()
        if row[0] is None or row[0] > self.floor:
            return 0
        upto = min(self.floor, row[0] + _PURGE)
        gone = self.database.execute("DELETE FROM changes WHERE revision <= ?", (upto,)).rowcount
        self.purged += gone
        return gone

    def flush(self) -> None:
        """Write what has been collected; the next looks go to the database again where that is needed."""
        many = self.database.executemany
        # Deletes first: a key may be deleted and made again within the batch.
        if self._deletes:
            many("DELETE FROM entries WHERE key = ?", [(key,) for key in self._deletes])
        if self._puts:
            many(_PUT, list(self._puts.values()))
        if self._changes:
            many("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", self._changes)
        if self._records:
            many("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?)", self._records)
        if self._moved_heads:
            heads = self._heads
            many(_MOVED, [(heads[stream], stream) for stream in self._moved_heads if stream not in self._new])
            many(_BEGUN, [(stream, heads[stream]) for stream in self._new])
        for kept in (self._deletes, self._puts, self._changes, self._records, self._moved_heads, self._new):
            kept.clear()

    def known(self) -> Known:
        """Return what the next draft may take over, once this one is committed."""
        return Known(self._version, self.revision, self._heads if len(self._heads) <= _KNOWN else {})

    def finish(self) -> None:
        """Write everything and the new revision; what is left is to commit."""
        self.flush()
        self._place()
        sql = "UPDATE meta SET revision = ?, floor = ?, placed = ? WHERE id = 1"
        self.database.execute(sql, (self.revision, self.floor, self._placed))

    def _names(self, sql: str, values: tuple[object, ...]) -> list[str]:
        return [row[0] for row in self.database.execute(sql, values)]


_PUT = (
    "INSERT INTO entries (key, revision, create_revision, lease, checksum, value) VALUES (?, ?, ?, ?, ?, ?) "
    "ON CONFLICT (key) DO UPDATE SET revision = excluded.revision, create_revision = excluded.create_revision, "
    "lease = excluded.lease, checksum = excluded.checksum, value = excluded.value"
)
_PLACES = "SELECT revision, position FROM places WHERE stream = ? AND sequence < ?"
_PLACE = (
    "INSERT INTO places SELECT stream, sequence, revision, position FROM records WHERE revision > ? "
    "ORDER BY stream, sequence"
)
_MOVED = "UPDATE streams SET head = ? WHERE name = ?"
_BEGUN = "INSERT INTO streams VALUES (?, 1, ?)"
