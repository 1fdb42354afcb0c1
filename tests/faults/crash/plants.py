"""Bugs planted on purpose: what each campaign must find, else it finds nothing."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any
from unittest import mock

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

    Patch = contextlib.AbstractContextManager[Any]


def nothing(*_: Any, **__: Any) -> None:
    """Do nothing where a sync should be."""


def no_fdatasync() -> Patch:
    """Let the File backend acknowledge what is only in memory."""
    return mock.patch("coordstore_file._fs.OsFileSystem.fdatasync", nothing)


def no_fsync_dir() -> Patch:
    """Let the File backend forget that names need a sync of their own."""
    return mock.patch("coordstore_file._fs.OsFileSystem.fsync_dir", nothing)


def no_check() -> Patch:
    """Let the File backend take any bytes for a frame's content."""
    return mock.patch("coordstore_file.frames._check", return_value=1)


def no_length_check() -> Patch:
    """Let the check of a frame cover its content only, and zeros be a frame: the usual first try."""
    import zlib

    from coordstore_file import frames

    def checked(buffer: bytes, skip: int, offset: int, before: int | None) -> frames.Frame | None:
        if len(buffer) < skip + frames.FRAME_SIZE:
            return None
        length, _, check = frames._HEAD.unpack_from(buffer, skip)
        content = buffer[skip + frames.FRAME_SIZE : skip + frames.FRAME_SIZE + length]
        return frames.Frame(offset, content, check) if zlib.crc32(content) == check else None

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch.object(frames, "_check", lambda length, before, content: zlib.crc32(content)))
    for module in ("frames", "log"):
        stack.enter_context(mock.patch(f"coordstore_file.{module}.checked", checked))
        stack.enter_context(mock.patch(f"coordstore_file.{module}.walk", zero_frames(checked)))
    return stack


def zero_frames(checked: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reading of frames for which a length of zero is as good as any."""

    def walk(fs: Any, handle: int, start: int, end: int, before: int | None) -> Iterator[tuple[int, bytes, int]]:
        raw = fs.read(handle, end - start, start)
        at = start
        while at < end:
            frame = checked(raw, at - start, at, before)
            if frame is None or frame.end > end:
                return
            yield tuple(frame)
            at = frame.end

    return walk


def no_rename_sync() -> Patch:
    """Let compaction name a snapshot whose own name is not on disk yet."""
    from coordstore_file import _fs

    real = _fs.replace

    def replace(fs: Any, path: Any, draft: Any, data: bytes, *, durable: bool) -> None:
        with mock.patch.object(fs, "fsync_dir", nothing):
            real(fs, path, draft, data, durable=durable)

    return mock.patch("coordstore_file.snapshot.replace", replace)


def no_home_sync() -> Patch:
    """Let compaction drop records from the log whose lines were never synced."""
    from coordstore_file import lines

    real = lines.StreamView._settle_piece

    def settle(self: Any, name: str, piece: Any) -> None:
        with mock.patch.object(self._fs, "fdatasync", nothing):
            real(self, name, piece)

    return mock.patch.object(lines.StreamView, "_settle_piece", settle)


def trusted_second_sync() -> Patch:
    """Let the File backend go on in the same segment after a sync that failed, as if a second one could tell."""
    return mock.patch("coordstore_file.journal.Journal.poison", nothing)


def sqlite_set(pragma: str) -> Patch:
    """Let the SQLite backend's connections have another setting."""
    from coordstore_sqlite import connection

    real = connection.connect

    def connect(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        raw = real(*args, **kwargs)
        raw.execute(f"PRAGMA {pragma}")
        return raw

    stack = contextlib.ExitStack()
    for module in ("connection", "handle"):
        stack.enter_context(mock.patch(f"coordstore_sqlite.{module}.connect", connect))
    return stack


def sqlite_no_create_sync() -> Patch:
    """Let the SQLite backend create its file without syncing the directory."""
    return mock.patch("coordstore_sqlite.schema.sync_directory", nothing)


def sqlite_delete_journal() -> Patch:
    """Let the SQLite backend keep a rollback journal, whose removal is not synced at synchronous=FULL."""
    from coordstore_sqlite import handle

    stack = contextlib.ExitStack()
    stack.enter_context(mock.patch("coordstore_sqlite.handle.SqliteStore._know", handle_know(handle.SqliteStore._know)))
    return stack


def handle_know(real: Callable[..., None]) -> Callable[..., None]:
    """Return the look at a database, with the journal mode changed behind it."""

    def know(self: Any, raw: sqlite3.Connection) -> None:
        real(self, raw)
        raw.execute("PRAGMA journal_mode = DELETE")

    return know


def counted() -> Patch:
    """Plant nothing, but count the mutating calls of the file system; the counts are told at the end of the process."""
    import atexit
    from collections import Counter

    from coordstore_file._fs import OsFileSystem

    counts: Counter[str] = Counter()
    stack = contextlib.ExitStack()
    for name in ("create", "write_all", "truncate", "fdatasync", "rename", "unlink", "mkdir", "rmdir"):
        stack.enter_context(mock.patch.object(OsFileSystem, name, counting(name, getattr(OsFileSystem, name), counts)))
    # Of the directories above the store we see nothing here.
    inside = counting("fsync_dir", OsFileSystem.fsync_dir, counts, "disk")
    stack.enter_context(mock.patch.object(OsFileSystem, "fsync_dir", inside))
    atexit.register(lambda: os.write(1, f"ACK count 0 {' '.join(f'{k}={v}' for k, v in counts.items())}\n".encode()))
    return stack


def counting(name: str, real: Callable[..., Any], counts: Any, below: str = "") -> Callable[..., Any]:
    """Return a method that counts its calls that succeed; with `below`, those on a path with such a folder in it."""

    def method(self: Any, *args: Any) -> Any:
        result = real(self, *args)
        # What fails changes nothing, and is not in a recording.
        if not below or below in args[0].parts:
            counts[name] += 1
        return result

    return method


PLANTS: dict[str, Callable[[], Patch]] = {
    "": contextlib.nullcontext,
    "counted": counted,
    "no fdatasync": no_fdatasync,
    "no directory sync": no_fsync_dir,
    "no check": no_check,
    "zeros are a frame": no_length_check,
    "no sync of a snapshot's name": no_rename_sync,
    "no sync of homes": no_home_sync,
    "a second sync is trusted": trusted_second_sync,
    "synchronous NORMAL": lambda: sqlite_set("synchronous=NORMAL"),
    "synchronous OFF": lambda: sqlite_set("synchronous=OFF"),
    "rollback journal": sqlite_delete_journal,
    "no directory sync at creation": sqlite_no_create_sync,
}


def planted(name: str) -> Patch:
    """Return what plants a bug while it is entered; nothing by the empty name."""
    return PLANTS[name]()


def exit_now() -> None:
    """End this process as a kill would: nothing is closed, nothing flushed."""
    os._exit(0)
