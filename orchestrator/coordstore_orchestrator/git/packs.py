"""Read objects out of packs without a git process.

A pack is a row of compressed entries, its index a sorted table of ids with where each entry begins. An entry is an
object, or a delta: instructions to build one out of another, which may be a delta again. Nothing here is trusted:
whatever does not add up, or is too large to be worth it, is left to git, and the caller compares content with id.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Packs"]

KINDS: Final = {1: "commit", 2: "tree", 3: "blob", 4: "tag"}
OFFSET_DELTA: Final = 6
ID_DELTA: Final = 7
INDEX_HEADER: Final = b"\xfftOc\x00\x00\x00\x02"
PACK_HEADER: Final = b"PACK\x00\x00\x00"
FANOUT: Final = 8
TABLE: Final = FANOUT + 256 * 4
FAR: Final = 0x8000_0000
"""The bit that sends an offset to the table of large ones."""
ENTRY_MAX: Final = 1 << 24
"""Bytes of an object, or of a delta's base, above which git does it better."""
DEPTH_MAX: Final = 500


class _Pack:
    """One pack and its index, mapped into memory; what git removes meanwhile stays readable."""

    def __init__(self, index: Path, width: int) -> None:
        self._index, self._data = _mapped(index), _mapped(index.with_suffix(".pack"))
        if self._index[:8] != INDEX_HEADER or self._data[:7] != PACK_HEADER:
            message = "not a pack of a version that is known"
            raise ValueError(message)
        self._width = width
        self._count: int = struct.unpack_from(">I", self._index, TABLE - 4)[0]

    def find(self, oid: bytes) -> int | None:
        """Return where the entry of an object begins."""
        first = oid[0]
        low: int = struct.unpack_from(">I", self._index, FANOUT + 4 * (first - 1))[0] if first else 0
        high: int = struct.unpack_from(">I", self._index, FANOUT + 4 * first)[0]
        while low < high:
            middle = (low + high) // 2
            at = TABLE + middle * self._width
            found = self._index[at : at + self._width]
            if found == oid:
                return self._offset(middle)
            low, high = (middle + 1, high) if found < oid else (low, middle)
        return None

    def _offset(self, number: int) -> int:
        table = TABLE + self._count * (self._width + 4)
        offset: int = struct.unpack_from(">I", self._index, table + 4 * number)[0]
        if offset & FAR:
            large: int = struct.unpack_from(">Q", self._index, table + 4 * self._count + 8 * (offset - FAR))[0]
            return large
        return offset

    def read(self, offset: int, depth: int = 0) -> tuple[str, bytes]:
        """Return kind and content of the entry that begins there."""
        if depth > DEPTH_MAX:
            message = "a chain of deltas without an end"
            raise ValueError(message)
        kind, size, at = self._head(offset)
        if size > ENTRY_MAX:
            message = "a large object"
            raise ValueError(message)
        if kind in KINDS:
            return KINDS[kind], self._inflated(at, size)
        base, at = self._base(kind, offset, at)
        name, source = self.read(base, depth + 1)
        return name, _applied(source, self._inflated(at, size))

    def _head(self, offset: int) -> tuple[int, int, int]:
        byte = self._data[offset]
        kind, size, shift, at = byte >> 4 & 7, byte & 15, 4, offset + 1
        while byte & 0x80:
            byte = self._data[at]
            size |= (byte & 0x7F) << shift
            shift, at = shift + 7, at + 1
        return kind, size, at

    def _base(self, kind: int, offset: int, at: int) -> tuple[int, int]:
        """Return where a delta's base begins, and where the delta itself does."""
        if kind == ID_DELTA:
            found = self.find(self._data[at : at + self._width])
            if found is None:
                message = "a delta on an object of another pack"
                raise ValueError(message)
            return found, at + self._width
        if kind != OFFSET_DELTA:
            message = f"an entry of the unknown kind {kind}"
            raise ValueError(message)
        byte = self._data[at]
        back = byte & 0x7F
        while byte & 0x80:
            at += 1
            byte = self._data[at]
            back = (back + 1) << 7 | byte & 0x7F
        if not 0 < back < offset:
            message = "a delta on what is not there"
            raise ValueError(message)
        return offset - back, at + 1

    def _inflated(self, at: int, size: int) -> bytes:
        inflate, found = zlib.decompressobj(), b""
        while len(found) < size and not inflate.eof:
            piece = self._data[at : at + size + 64]
            found += inflate.decompress(inflate.unconsumed_tail + piece, size - len(found))
            at += len(piece)
            if not piece:
                break
        if len(found) != size:
            message = "an entry of another size than it says"
            raise ValueError(message)
        return found


def _mapped(path: Path) -> mmap.mmap:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return mmap.mmap(file, 0, prot=mmap.PROT_READ)
    finally:
        os.close(file)


def _applied(source: bytes, delta: bytes) -> bytes:
    """Return what a delta makes of its base."""
    before, at = _number(delta, 0)
    after, at = _number(delta, at)
    if before != len(source) or after > ENTRY_MAX:
        message = "a delta on something else, or to something large"
        raise ValueError(message)
    parts: list[bytes] = []
    while at < len(delta):
        order = delta[at]
        at += 1
        if order & 0x80:
            start, at = _packed(delta, at, order & 0x0F, 4)
            length, at = _packed(delta, at, order >> 4 & 0x07, 3)
            parts.append(source[start : start + (length or 0x10000)])
        else:
            parts.append(delta[at : at + order])
            at += order
    found = b"".join(parts)
    if len(found) != after:
        message = "a delta to another size than it says"
        raise ValueError(message)
    return found


def _number(data: bytes, at: int) -> tuple[int, int]:
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not byte & 0x80:
            return value, at


def _packed(data: bytes, at: int, present: int, width: int) -> tuple[int, int]:
    """Return a number of which only the bytes that are not 0 are written."""
    value = 0
    for byte in range(width):
        if present >> byte & 1:
            value |= data[at] << 8 * byte
            at += 1
    return value, at


class Packs:
    """The packs of one object store; new ones are noticed when something is not found.

    Args:
        objects: The `objects` folder.
        width: Bytes of an object id.
    """

    def __init__(self, objects: Path, width: int) -> None:
        self._folder = objects / "pack"
        self._width = width
        self._packs: dict[str, _Pack | None] = {}
        self._changed = 0
        self._lock = threading.Lock()

    def read(self, oid: str) -> tuple[str, bytes] | None:
        """Return kind and content of an object; None: it is not there, or git has to be asked. Blocks.

        Args:
            oid: Its id in hex.
        """
        wanted = bytes.fromhex(oid)
        for pack in self._all():
            try:
                offset = pack.find(wanted)
                if offset is not None:
                    return pack.read(offset)
            except (ValueError, IndexError, struct.error, zlib.error):
                return None
        return None

    def _all(self) -> Iterator[_Pack]:
        """Yield those known, then, if more are there by now, those."""
        known = list(self._packs)
        yield from [pack for pack in self._packs.values() if pack]
        self._look()
        yield from [pack for name, pack in list(self._packs.items()) if pack and name not in known]

    def _look(self) -> None:
        with self._lock:
            try:
                changed = self._folder.stat().st_mtime_ns
                names = [] if changed == self._changed else os.listdir(self._folder)
            except OSError:
                return
            for name in names:
                if name.endswith(".idx") and name not in self._packs:
                    self._packs[name] = self._opened(name)
            self._changed = changed

    def _opened(self, name: str) -> _Pack | None:
        try:
            return _Pack(self._folder / name, self._width)
        except (OSError, ValueError, struct.error):
            return None
