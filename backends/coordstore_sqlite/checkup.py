"""What `coord doctor` looks at in a SQLite store: the database itself, its files, SQLite; nothing is changed."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Final

from coordstore.checkup import Finding
from coordstore.checkup.host import disk, lock, ownership, refused
from coordstore.errors import CoordError
from coordstore_sqlite import schema
from coordstore_sqlite.faults import checksum, translated

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coordstore.url import StoreURL

__all__ = ["checkup"]

_WAL_RESET_BUG: Final = ((3, 7, 0), (3, 51, 2))
"""The versions of SQLite in which two processes that write and checkpoint at once can corrupt a database."""
_OLDEST: Final = (3, 24, 0)
_LARGE: Final = 256 * 1024**2
_LONG_LOG: Final = 256 * 1024**2
_SHOWN: Final = 5
_OURS: Final = re.compile(r"CREATE (?:UNIQUE )?(?:TABLE|INDEX|VIEW) (\w+)")


def checkup(url: StoreURL) -> Iterator[Finding]:
    """Look at the store of a URL; blocks, for a large one for seconds."""
    yield _version()
    path = url.path
    files = [path, *(schema.beside(path, suffix) for suffix in ("-wal", "-shm", "-lock", "-leases"))]
    yield from ownership(path.parent, files)
    yield from disk(path.parent, "sqlite", allow_network=url.flag("allow_network_fs"))
    yield lock(schema.beside(path, "-lock"))
    yield from _log(schema.beside(path, "-wal"))
    try:
        with translated(path), closing(_connect(path)) as database:
            yield Finding.ok("format", f"store {schema.check(database, path)}, format {schema.FORMAT}")
            yield from _structure(database, path)
            yield from _contents(database)
    except CoordError as error:
        yield refused("integrity", error)


def _connect(path: Path) -> sqlite3.Connection:
    """Open the database so that it cannot be changed: such a connection cannot checkpoint either."""
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5, isolation_level=None)


def _version() -> Finding:
    version = sqlite3.sqlite_version_info
    first, last = _WAL_RESET_BUG
    if version < _OLDEST:
        return Finding.problem(
            "sqlite", f"SQLite {sqlite3.sqlite_version} is too old", "use a Python with SQLite 3.24 or newer"
        )
    if first <= version <= last:
        text = (
            f"SQLite {sqlite3.sqlite_version} has the WAL-reset bug (3.7.0 to 3.51.2); it cannot strike here, for all "
            "writes, checkpoints and closes are done under the store's lock, as long as no other program writes"
        )
        return Finding.ok("sqlite", text)
    return Finding.ok("sqlite", f"SQLite {sqlite3.sqlite_version}, without the WAL-reset bug (3.7.0 to 3.51.2)")


def _log(path: Path) -> Iterator[Finding]:
    size = path.stat().st_size if path.exists() else 0
    text = f"the write-ahead log has {size / 1024**2:,.0f} MiB"
    if size > _LONG_LOG:
        advice = "a process that reads for very long keeps it from being emptied: look for one"
        yield Finding.warning("write-ahead log", text, advice)
    else:
        yield Finding.ok("write-ahead log", text)


def _structure(database: sqlite3.Connection, path: Path) -> Iterator[Finding]:
    """Look at pages, indexes and tables."""
    name = "quick_check" if path.stat().st_size > _LARGE else "integrity_check"
    said = [str(row[0]) for row in database.execute(f"PRAGMA {name}({_SHOWN})")]
    if said == ["ok"]:
        yield Finding.ok("integrity", f"SQLite's {name} finds nothing")
    else:
        yield Finding.problem("integrity", f"SQLite's {name}: {'; '.join(said)}", "restore the store from a backup")
    ours = set(_OURS.findall(schema._TABLES + schema._PLACES))  # noqa: SLF001  (of this package)
    there = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE name NOT LIKE 'sqlite_%'")}
    if there != ours:
        text = f"tables, indexes or views that are not a store's: {_some(there - ours)}; missing: {_some(ours - there)}"
        yield Finding.problem("content", text, "another program has written here: restore the store from a backup")
    (mode,) = database.execute("PRAGMA journal_mode").fetchone()
    if mode != "wal":
        text = f"the journal mode is {mode}, not wal: another program has changed it"
        yield Finding.warning("content", text, "the next one who opens the store sets it right")


def _contents(database: sqlite3.Connection) -> Iterator[Finding]:
    """Look at every row's checksum, and whether the streams are whole."""
    bad = [
        name
        for sql in (_ENTRIES, _CHANGES, _RECORDS)
        for name, check, data, *facts in database.execute(sql)
        if check != checksum(data or b"", *facts)
    ]
    if bad:
        text = f"{len(bad)} rows fail their checksum: {_some(bad)}"
        yield Finding.problem("content", text, "their bytes changed on disk: restore the store from a backup")
    torn = sorted({row[0] for sql in (_TORN, _MISPLACED) for row in database.execute(sql)})
    if torn:
        text = f"records are missing in {len(torn)} streams: {_some(torn)}"
        yield Finding.problem("content", text, "restore the store from a backup")
    if not bad and not torn:
        entries, records = (database.execute(f"SELECT count(*) FROM {t}").fetchone()[0] for t in ("entries", "records"))  # noqa: S608  (ours)
        yield Finding.ok("content", f"{entries} keys and {records} records, every one with its checksum")


def _some(names: set[str] | list[str]) -> str:
    found = sorted(map(str, names))
    more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
    return ", ".join(found[:_SHOWN]) + more or "none"


_ENTRIES: Final = "SELECT key, checksum, value, key, revision, create_revision, lease FROM entries"
_CHANGES: Final = "SELECT key, checksum, value, key, revision, create_revision, lease FROM changes"
_RECORDS: Final = "SELECT stream, checksum, data, stream, sequence, revision FROM records"
_MISPLACED: Final = """
SELECT stream FROM (
    SELECT stream, sequence, revision, position FROM records
    WHERE revision <= (SELECT placed FROM meta)
    EXCEPT SELECT stream, sequence, revision, position FROM places
)
UNION SELECT stream FROM (
    SELECT stream, sequence, revision, position FROM places
    EXCEPT SELECT stream, sequence, revision, position FROM records
)
"""
_TORN: Final = """
SELECT name FROM streams LEFT JOIN
    (SELECT stream, count(*) AS count, min(sequence) AS low, max(sequence) AS high FROM records GROUP BY stream)
    ON stream = name
WHERE coalesce(count, 0) != head - first + 1 OR (count AND (low != first OR high != head))
UNION SELECT stream FROM records WHERE stream NOT IN (SELECT name FROM streams)
"""
