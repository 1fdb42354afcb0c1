"""Turns what SQLite and the system report into the library's errors, by what it means for the caller."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING
from zlib import crc32

from coordstore.errors import CoordError, Corrupt, Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["checksum", "damaged", "record_checksum", "translate", "translated"]

# SQLITE_ERROR: a statement of ours does not fit the tables, so they are not ours any more.
_DAMAGE = frozenset((sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR))


def translate(error: BaseException, path: Path) -> CoordError:
    """Return the error to raise when nothing has been applied."""
    if isinstance(error, CoordError):
        return error
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    # The driver decodes names of the schema, and SQLite's message that quotes a damaged one.
    if code in _DAMAGE or isinstance(error, UnicodeDecodeError) or "decode to UTF-8" in str(error):
        return Corrupt(f"{path} is damaged or no database ({error}): restore it from a backup; nothing was reset")
    if code == sqlite3.SQLITE_FULL:
        return Unavailable(f"the disk of {path} is full: not applied; make room and try again")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return Unavailable(f"{path} could not be used ({name}: {error}): not applied")


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise the library's errors for those of the body, in which nothing is written."""
    try:
        yield
    except (sqlite3.Error, OSError, UnicodeDecodeError) as error:
        if isinstance(error, CoordError):
            raise
        raise translate(error, path) from error


def checksum(value: bytes, *facts: object) -> int:
    """Return the checksum of a row: its bytes and what belongs to them."""
    return crc32(value, crc32(repr(facts).encode()))


def record_checksum(data: bytes, stream: str, sequence: int, revision: int) -> int:
    """Return `checksum` of a record's row; a name of the grammar needs no quoting."""
    return crc32(data, crc32(f"('{stream}', {sequence}, {revision})".encode()))


def damaged(name: str, number: int | None = None) -> Corrupt:
    """Return the error for a row of a key or stream whose checksum does not hold."""
    what = repr(name) if number is None else f"{name!r} ({number})"
    return Corrupt(f"{what} fails its checksum: its bytes changed on disk; restore the store from a backup")
