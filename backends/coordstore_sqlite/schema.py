"""The tables, their version, and how a database comes into being at once and complete.

A store of an older format is brought up to date by whoever opens it, in one transaction.

The database is built under another name, synced, and renamed into place under the store's lock: whoever finds a
file at the path finds a whole store, whatever was killed and however many processes create it together.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from coordstore.errors import Corrupt, VersionMismatch
from coordstore.hostkit.paths import create_file, sync_directory

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["APPLICATION_ID", "FORMAT", "beside", "bring_up_to_date", "check", "create", "is_older"]

APPLICATION_ID: Final = 0x636F7264
FORMAT: Final = 2
_PAGE: Final = 2048
"""Bytes: whole pages are what a commit writes, however little of them has changed."""

_PLACES: Final = """
CREATE TABLE places (
    stream          TEXT    NOT NULL,
    sequence        INTEGER NOT NULL,
    revision        INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    PRIMARY KEY (stream, sequence)
) WITHOUT ROWID"""
_TABLES: Final = """
CREATE TABLE about (line INTEGER PRIMARY KEY, text TEXT NOT NULL);
CREATE TABLE meta (
    id              INTEGER PRIMARY KEY CHECK (id = 1),
    format          INTEGER NOT NULL,
    store_id        TEXT    NOT NULL,
    created         TEXT    NOT NULL,
    revision        INTEGER NOT NULL,
    floor           INTEGER NOT NULL,
    placed          INTEGER NOT NULL
);
CREATE TABLE entries (
    key             TEXT    NOT NULL UNIQUE,
    revision        INTEGER NOT NULL,
    create_revision INTEGER NOT NULL,
    lease           INTEGER,
    checksum        INTEGER NOT NULL,
    value           BLOB    NOT NULL
);
CREATE INDEX entries_by_lease ON entries (lease) WHERE lease IS NOT NULL;
CREATE TABLE changes (
    revision        INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    key             TEXT    NOT NULL,
    create_revision INTEGER,
    lease           INTEGER,
    checksum        INTEGER NOT NULL,
    value           BLOB,
    PRIMARY KEY (revision, position)
) WITHOUT ROWID;
CREATE TABLE streams (
    name            TEXT    NOT NULL PRIMARY KEY,
    first           INTEGER NOT NULL,
    head            INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE records (
    revision        INTEGER NOT NULL,
    position        INTEGER NOT NULL,
    stream          TEXT    NOT NULL,
    sequence        INTEGER NOT NULL,
    checksum        INTEGER NOT NULL,
    data            BLOB    NOT NULL,
    PRIMARY KEY (revision, position)
) WITHOUT ROWID;
CREATE VIEW entries_text AS
    SELECT key, CAST(value AS TEXT) AS value, revision, create_revision, lease FROM entries ORDER BY key;
CREATE VIEW changes_text AS
    SELECT revision, key, CAST(value AS TEXT) AS value, create_revision IS NULL AS deleted FROM changes;
CREATE VIEW records_text AS
    SELECT stream, sequence, CAST(data AS TEXT) AS data, revision FROM records;
"""

_FROM_1: Final = (
    "DROP INDEX records_by_stream",
    _PLACES,
    "INSERT INTO places SELECT stream, sequence, revision, position FROM records ORDER BY stream, sequence",
    "ALTER TABLE meta ADD COLUMN placed INTEGER NOT NULL DEFAULT 0",
    "UPDATE meta SET placed = revision, format = 2",
    "PRAGMA user_version = 2",
)
_ABOUT: Final = (
    "This is a store of coordstore; `coord inspect` shows it. Reading with sqlite3 is safe at any time.",
    "entries: the keys as they are. changes: what each revision did to keys, above meta.floor.",
    "streams and records: the per-writer streams. The views *_text show the bytes as text.",
    "places: where the records of a stream are, up to the revision meta.placed; newer ones are not in it yet.",
    "Do not write here: rows carry checksums, writers hold the lock file beside, and leases live in a side file.",
)


def beside(path: Path, suffix: str) -> Path:
    """Return the path of a file that goes with the database."""
    return path.with_name(path.name + suffix)


def create(path: Path) -> None:
    """Create a store where there is none, under the store's lock; blocks.

    Raises:
        Corrupt: Part of a store lies there: its write-ahead log without its database.
        OSError, sqlite3.Error: It cannot be written.
    """
    for suffix in ("-wal", "-shm"):
        left = beside(path, suffix)
        if suffix == "-wal" and left.exists() and left.stat().st_size:
            message = (
                f"{path} is missing, but {left}, which has its latest changes, is there: restore it, or remove both"
            )
            raise Corrupt(message)
        left.unlink(missing_ok=True)
    draft = beside(path, "-new")
    for suffix in ("", "-journal", "-wal", "-shm"):
        beside(draft, suffix).unlink(missing_ok=True)
    descriptor = create_file(draft)
    try:
        _build(draft)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    draft.rename(path)
    for folder in path.parents:
        # The directories that lead here may be new as well; above our own, names are not ours to sync.
        with contextlib.suppress(PermissionError):
            sync_directory(folder)


def is_older(database: sqlite3.Connection) -> bool:
    """Tell whether this is a store of an older format."""
    (application,) = database.execute("PRAGMA application_id").fetchone()
    (found,) = database.execute("PRAGMA user_version").fetchone()
    return bool(application == APPLICATION_ID and 0 < found < FORMAT)


def bring_up_to_date(database: sqlite3.Connection) -> None:
    """Turn a store of format 1 into one of today's, in one transaction; blocks, for a large one for seconds.

    Called under the store's lock, by several processes one after the other; the first one does it. Those of the version
    that wrote it must have ended.
    """
    database.execute("BEGIN IMMEDIATE")
    try:
        if is_older(database):
            for statement in _FROM_1:
                database.execute(statement)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def check(database: sqlite3.Connection, path: Path) -> str:
    """Return the store's identity after a look at whether this is a store of this format.

    Raises:
        Corrupt: It is a database of something else, or its tables are damaged.
        VersionMismatch: It has another format.
        sqlite3.DatabaseError: It is no database, or damaged.
    """
    (application,) = database.execute("PRAGMA application_id").fetchone()
    if application != APPLICATION_ID:
        message = f"{path} is an SQLite database, but no store of coordstore: choose another path; nothing was changed"
        raise Corrupt(message)
    (found,) = database.execute("PRAGMA user_version").fetchone()
    if found > FORMAT:
        message = (
            f"{path} has format {found}, this is a newer one than format {FORMAT}, which this coordstore reads: "
            "use the version that wrote it; nothing was written"
        )
        raise VersionMismatch(message)
    if found < FORMAT:
        message = (
            f"{path} has format {found}, this is an older one than format {FORMAT}: whoever opens the store to use it "
            "(coord inspect) brings it up to date"
        )
        raise VersionMismatch(message)
    whole = "id = 1 AND length(store_id) = 32 AND store_id NOT GLOB '*[^0-9a-f]*'"
    row = database.execute(f"SELECT store_id FROM meta WHERE {whole}").fetchone()  # noqa: S608  (ours)
    if row is None:
        message = f"{path} has lost its identity (table meta): restore it from a backup; nothing was changed"
        raise Corrupt(message)
    return str(row[0])


def _build(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as database:
        pragmas = (f"page_size={_PAGE}", "journal_mode=MEMORY", "synchronous=OFF", f"application_id={APPLICATION_ID}")
        for pragma in pragmas:
            database.execute(f"PRAGMA {pragma}")
        database.execute(f"PRAGMA user_version={FORMAT}")
        database.executescript(f"BEGIN;{_TABLES}{_PLACES};COMMIT;")
        created = datetime.now(UTC).isoformat(timespec="seconds")
        first = (FORMAT, os.urandom(16).hex(), created)
        database.execute("INSERT INTO meta VALUES (1, ?, ?, ?, 0, 0, 0)", first)
        database.executemany("INSERT INTO about (text) VALUES (?)", ((line,) for line in _ABOUT))
        database.execute("PRAGMA journal_mode=WAL")
