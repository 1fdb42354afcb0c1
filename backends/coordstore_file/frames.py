"""A transaction as bytes: a frame whose check covers its length, its content and the frame before it.

    length (4) · check of the frame before (4) · check (4) · content

The check is seeded and a length is never zero, so zeros are no frame; and since each frame names the check of the
one before, a frame that a crash left behind a cut is never taken for the successor of another one.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.engine import Commit
from coordstore.model import Change, Entry, Record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore_file._fs import FileSystem

__all__ = ["FRAME_SIZE", "Frame", "checked", "decode", "encode", "framed", "only_record", "walk"]

_HEAD: Final = struct.Struct("<III")
FRAME_SIZE: Final = _HEAD.size
_SEED: Final = 0x66696C65
_COMMIT: Final = struct.Struct("<QIIII")
_CHANGE: Final = struct.Struct("<HIQQ")
_RECORD: Final = struct.Struct("<HIQ")
_APPEND: Final = struct.Struct("<QIIIIHIQ")
"""A commit and its only record."""
_ONE_RECORD: Final = struct.pack("<IIII", 0, 1, 0, 0)
_TRIM: Final = struct.Struct("<HQ")
_DROP: Final = struct.Struct("<H")
_GONE: Final = 0xFFFFFFFF
"""As the length of a value: the key is deleted."""
_CHUNK: Final = 256 * 1024


class Frame(NamedTuple):
    """A frame that passed its check, and where it lies in its file."""

    offset: int
    content: bytes
    check: int

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.offset + FRAME_SIZE + len(self.content)


def _check(length: int, before: int, content: bytes) -> int:
    return zlib.crc32(content, zlib.crc32(b"%d %d" % (length, before), _SEED))


def framed(content: bytes, before: int) -> tuple[bytes, int]:
    """Return the frame of a content behind the frame with this check, and its own check."""
    length = len(content)
    check = _check(length, before, content)
    return _HEAD.pack(length, before, check) + content, check


def walk(fs: FileSystem, handle: int, start: int, end: int, before: int | None) -> Iterator[tuple[int, bytes, int]]:
    """Yield offset, content and check of the frames between two places of a file, up to the first one that is bad.

    Args:
        fs: The file system.
        handle: The file.
        start: Where a frame begins.
        end: Where the last one ends.
        before: The check of the frame before; None: not known, as when reading begins in the middle.
    """
    buffer, base, at = b"", start, start
    unpack, check_of = _HEAD.unpack_from, _check
    while at + FRAME_SIZE <= end:
        begin = at - base + FRAME_SIZE
        if begin > len(buffer):
            buffer, base, begin = fs.read(handle, min(_CHUNK, end - at), at), at, FRAME_SIZE
        if len(buffer) < FRAME_SIZE:
            return
        length, told, check = unpack(buffer, begin - FRAME_SIZE)
        following = at + FRAME_SIZE + length
        if not length or following > end:
            return
        if begin + length > len(buffer):
            buffer, base, begin = fs.read(handle, max(following - at, min(_CHUNK, end - at)), at), at, FRAME_SIZE
        content = buffer[begin : begin + length]
        if len(content) != length or before not in (None, told) or check_of(length, told, content) != check:
            return
        yield at, content, check
        before, at = check, following


def checked(buffer: bytes, skip: int, offset: int, before: int | None) -> Frame | None:
    """Return the frame that begins at a place of a buffer, None when it is bad."""
    if len(buffer) < skip + FRAME_SIZE:
        return None
    length, told, check = _HEAD.unpack_from(buffer, skip)
    content = buffer[skip + FRAME_SIZE : skip + FRAME_SIZE + length]
    good = len(content) == length > 0 and before in (None, told) and _check(length, told, content) == check
    return Frame(offset, content, check) if good else None


def encode(commit: Commit) -> bytes:
    """Return a commit as bytes."""
    changes, records, trimmed, dropped = commit.changes, commit.records, commit.trimmed, commit.dropped
    if len(records) == 1 and not (changes or trimmed or dropped):
        # What most commits are.
        record = records[0]
        name, data = record.stream.encode(), record.data
        return _APPEND.pack(commit.revision, 0, 1, 0, 0, len(name), len(data), record.sequence) + name + data
    parts = [_COMMIT.pack(commit.revision, len(changes), len(records), len(trimmed), len(dropped))]
    for change in changes:
        key, entry = change.key.encode(), change.entry
        if entry is None:
            parts += (_CHANGE.pack(len(key), _GONE, 0, 0), key)
        else:
            head = _CHANGE.pack(len(key), len(entry.value), entry.create_revision, entry.lease or 0)
            parts += (head, key, entry.value)
    for record in records:
        name = record.stream.encode()
        parts += (_RECORD.pack(len(name), len(record.data), record.sequence), name, record.data)
    for stream, upto in trimmed.items():
        parts += (_TRIM.pack(len(stream), upto), stream.encode())
    for stream in dropped:
        parts += (_DROP.pack(len(stream)), stream.encode())
    return b"".join(parts)


def only_record(content: bytes) -> tuple[int, str, int] | None:
    """Return revision, stream and sequence of the record that is all of a commit; None: it is more, or other.

    What most commits are is taken in by that: to make records of all that was ever appended would take thrice as long.
    """
    if len(content) < _APPEND.size or content[8:24] != _ONE_RECORD:
        return None
    revision, _, _, _, _, length, _, sequence = _APPEND.unpack_from(content)
    return revision, str(content[_APPEND.size : _APPEND.size + length], "ascii"), sequence


def decode(content: bytes) -> Commit:
    """Return the commit that `encode` made these bytes of."""
    revision, changes, records, trims, drops = _COMMIT.unpack_from(content)
    if records == 1 and not (changes or trims or drops):
        length, size, sequence = _RECORD.unpack_from(content, _COMMIT.size)
        data = _APPEND.size + length
        stream = content[_APPEND.size : data].decode()
        return Commit(revision, (), (Record(stream, sequence, revision, content[data : data + size]),))
    reader = _Reader(content, _COMMIT.size)
    return Commit(
        revision,
        reader.changes(changes, revision),
        tuple([reader.record(revision) for _ in range(records)]),
        dict([reader.trim() for _ in range(trims)]),
        tuple([reader.drop() for _ in range(drops)]),
    )


class _Reader:
    """Takes a commit's parts one by one."""

    __slots__ = ("at", "content")

    def __init__(self, content: bytes, at: int) -> None:
        self.content = content
        self.at = at

    def _take(self, length: int) -> bytes:
        start = self.at
        self.at = start + length
        return self.content[start : self.at]

    def changes(self, count: int, revision: int) -> tuple[Change, ...]:
        """Take the changes, of which a store that is opened has tens of thousands: in one loop, no call for each."""
        content, at, found = self.content, self.at, []
        for _ in range(count):
            name, size, created, lease = _CHANGE.unpack_from(content, at)
            at += _CHANGE.size + name
            key = str(content[at - name : at], "ascii")
            if size == _GONE:
                found.append(Change(key, None))
            else:
                found.append(Change(key, Entry(key, content[at : at + size], revision, created, lease or None)))
                at += size
        self.at = at
        return tuple(found)

    def record(self, revision: int) -> Record:
        name, size, sequence = _RECORD.unpack_from(self.content, self.at)
        self.at += _RECORD.size
        stream = self._take(name).decode()
        return Record(stream, sequence, revision, self._take(size))

    def trim(self) -> tuple[str, int]:
        name, upto = _TRIM.unpack_from(self.content, self.at)
        self.at += _TRIM.size
        return self._take(name).decode(), upto

    def drop(self) -> str:
        (name,) = _DROP.unpack_from(self.content, self.at)
        self.at += _DROP.size
        return self._take(name).decode()
