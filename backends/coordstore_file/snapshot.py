"""A snapshot: the state of the store before a segment of the log, whole in one file, checked in every part.

    header · streams with their homes · keys with their values

Each part has its own length and check. A snapshot is written beside, synced and renamed, so one that is there is
whole, and one that fails its check is damage and never skipped.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.errors import Corrupt
from coordstore.model import Entry
from coordstore_file._fs import replace
from coordstore_file.pace import paced
from coordstore_file.replica import Home, HomeFile, Stream

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from coordstore_file._fs import FileSystem

__all__ = ["Snapshot", "Snapshots"]

_MAGIC: Final = b"coordsnp"
_HEADER: Final = struct.Struct("<8sI16sQQQIIQIQI")
_CHECK: Final = struct.Struct("<I")
_STREAM: Final = struct.Struct("<HQQQQQI")
_FILE: Final = struct.Struct("<QQQ")
_ENTRY: Final = struct.Struct("<HIQQQ")
_SEED: Final = 0x736E6170


class Snapshot(NamedTuple):
    """What a snapshot tells; `entries` is empty where only the streams were asked for."""

    number: int
    revision: int
    floor: int
    streams: dict[str, Stream]
    entries: dict[str, Entry]


class Snapshots:
    """The snapshots of one store.

    Args:
        fs: The file system.
        folder: Where they are.
        store_id: The store's identity, 16 bytes.
    """

    def __init__(self, fs: FileSystem, folder: Path, store_id: bytes) -> None:
        self.fs = fs
        self.folder = folder
        self._store_id = store_id

    def path(self, number: int) -> Path:
        """Return the path of a snapshot."""
        return self.folder / f"{number:012}"

    def numbers(self) -> list[int]:
        """Return the numbers of the snapshots that are there, sorted."""
        return sorted(int(name) for name in self.fs.list(self.folder) if name.isdecimal())

    def write(self, snapshot: Snapshot) -> int:
        """Put a snapshot in place, durably; return its size."""
        streams = b"".join(_stream(name, stream) for name, stream in snapshot.streams.items())
        entries = b"".join(_entries(snapshot.entries.values()))
        counts = len(snapshot.streams), len(snapshot.entries)
        numbers = (snapshot.number, snapshot.revision, snapshot.floor, *counts)
        sizes = (len(streams), zlib.crc32(streams, _SEED), len(entries), zlib.crc32(entries, _SEED))
        header = _HEADER.pack(_MAGIC, 1, self._store_id, *numbers, *sizes)
        data = b"".join((header, _CHECK.pack(zlib.crc32(header, _SEED)), streams, entries))
        replace(self.fs, self.path(snapshot.number), self.folder / "draft", data, durable=True)
        return len(data)

    def read(self, number: int, *, whole: bool = True) -> Snapshot:
        """Return a snapshot.

        Args:
            number: Which one.
            whole: With the keys; else the streams only.

        Raises:
            FileNotFoundError: It was compacted away.
            Corrupt: It is damaged.
        """
        handle = self.fs.open(self.path(number))
        try:
            header = self.fs.read(handle, _HEADER.size + _CHECK.size, 0)
            fields = self._header(header, number)
            revision, floor, streams, entries, *sizes = fields
            first = self._part(handle, number, len(header), sizes[0], sizes[1])
            second = self._part(handle, number, len(header) + sizes[0], sizes[2], sizes[3]) if whole else b""
        finally:
            self.fs.close(handle)
        return Snapshot(number, revision, floor, _streams(first, streams), _read_entries(second, entries * whole))

    def _header(self, raw: bytes, number: int) -> tuple[int, ...]:
        body = raw[: _HEADER.size]
        if len(raw) != _HEADER.size + _CHECK.size or _CHECK.unpack(raw[_HEADER.size :])[0] != zlib.crc32(body, _SEED):
            raise self._damaged(number)
        magic, _, store_id, told, *fields = _HEADER.unpack(body)
        if (magic, store_id, told) != (_MAGIC, self._store_id, number):
            raise self._damaged(number)
        return tuple(fields)

    def _part(self, handle: int, number: int, offset: int, length: int, check: int) -> bytes:
        data = self.fs.read(handle, length, offset)
        if len(data) != length or zlib.crc32(data, _SEED) != check:
            raise self._damaged(number)
        return data

    def _damaged(self, number: int) -> Corrupt:
        message = f"{self.path(number)} is damaged: restore the store from a backup; nothing was changed"
        return Corrupt(message)


def _stream(name: str, stream: Stream) -> bytes:
    home = stream.home
    numbers = (stream.born, stream.first, stream.head, home.upto, home.revision, len(home.files))
    files = (_FILE.pack(file.sequence, file.revision, file.length) for file in home.files)
    return b"".join((_STREAM.pack(len(name), *numbers), name.encode(), *files))


def _streams(data: bytes, count: int) -> dict[str, Stream]:
    found, at = {}, 0
    for _ in range(count):
        length, born, first, head, upto, revision, files = _STREAM.unpack_from(data, at)
        at += _STREAM.size + length
        name = data[at - length : at].decode()
        made = tuple(HomeFile(*_FILE.unpack_from(data, at + n * _FILE.size)) for n in range(files))
        at += files * _FILE.size
        found[name] = Stream(born, first, head, Home(upto, revision, made))
    return found


def _entries(entries: Iterable[Entry]) -> Iterable[bytes]:
    for entry in paced(entries):
        numbers = (entry.revision, entry.create_revision, entry.lease or 0)
        yield _ENTRY.pack(len(entry.key), len(entry.value), *numbers)
        yield entry.key.encode()
        yield entry.value


def _read_entries(data: bytes, count: int) -> dict[str, Entry]:
    found, at = {}, 0
    for _ in range(count):
        name, size, revision, created, lease = _ENTRY.unpack_from(data, at)
        at += _ENTRY.size
        key = data[at : at + name].decode()
        at += name + size
        found[key] = Entry(key, data[at - size : at], revision, created, lease or None)
    return found
