"""The log: segments of frames, appended to by one writer at a time; each segment says where the one before it ends.

A segment is begun when the log is compacted, and after a failed sync. Its header names the end of the segment before
it, so whatever a crash or a failed sync left behind that end is no part of the log, whether or not it was cut off.
"""

from __future__ import annotations

import bisect
import contextlib
import struct
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coordstore.errors import Corrupt
from coordstore_file.frames import FRAME_SIZE, Frame, checked, walk
from coordstore_file.mark import Place

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coordstore_file._fs import FileSystem

__all__ = ["Log", "Segment", "pack_place", "unpack_place"]

_MAGIC: Final = b"coordlog"
_HEADER: Final = struct.Struct("<8sI16sQQQQI")
_CHECK: Final = struct.Struct("<I")
_SIZE: Final = _HEADER.size + _CHECK.size
_SEED: Final = 0x73656773
_ANCHOR: Final = 32 * 1024
"""Bytes of log between two places that are kept in memory."""
_GLANCE: Final = 4096
_SHIFT: Final = 40


@dataclass(slots=True)
class Segment:
    """An open segment.

    Args:
        number: Its number.
        handle: The open file.
        base: The store's revision before its first frame.
        before: Where the log ends before it.
        before_check: The check of the last frame there.
        check: What its first frame names as the check before it.
        anchors: Revisions and offsets of some of its frames, for beginning to read in the middle.
    """

    number: int
    handle: int
    base: int
    before: Place
    before_check: int
    check: int
    anchors: list[tuple[int, int]] = field(default_factory=list)

    @property
    def start(self) -> int:
        """Where its first frame begins."""
        return _SIZE

    def note(self, revision: int, offset: int) -> int:
        """Remember that the frame of a revision begins at an offset, if no other place near it is known.

        Return the offset from which on the next one, read in order, is to be told.
        """
        if not self.anchors or revision <= self.anchors[-1][0] or offset - self.anchors[-1][1] >= _ANCHOR:
            at = bisect.bisect_left(self.anchors, (revision, 0))
            near = self.anchors[max(at - 1, 0) : at + 1] or [(0, -_ANCHOR)]
            if all(abs(offset - known) >= _ANCHOR for _, known in near):
                self.anchors.insert(at, (revision, offset))
        last = self.anchors[-1]
        return last[1] + _ANCHOR if revision >= last[0] else 0

    def offset_before(self, revision: int) -> int:
        """Return a place from which on reading forward meets every frame from a revision on."""
        at = bisect.bisect_right(self.anchors, (revision, 2**63))
        return self.anchors[at - 1][1] if at else self.start


class Log:
    """The segments of one store; used by one thread at a time.

    Args:
        fs: The file system.
        folder: Where the segments are.
        draft: The path at which a new one is written first.
        store_id: The store's identity, 16 bytes.
    """

    HEADER: Final = _SIZE

    def __init__(self, fs: FileSystem, folder: Path, draft: Path, store_id: bytes) -> None:
        self.fs = fs
        self.folder = folder
        self._draft = draft
        self._store_id = store_id
        self._open: dict[int, Segment] = {}
        self._looked = (0, folder)

    def another(self) -> Log:
        """Return another view of the same segments, with open files of its own."""
        return Log(self.fs, self.folder, self._draft, self._store_id)

    def path(self, number: int) -> Path:
        """Return the path of a segment."""
        return self.folder / f"{number:012}"

    def numbers(self) -> list[int]:
        """Return the numbers of the segments that are there, sorted."""
        return sorted(int(name) for name in self.fs.list(self.folder) if name.isdecimal())

    def exists(self, number: int) -> bool:
        """Tell whether there is a segment of a number; asked at every batch, always for the same one."""
        if self._looked[0] != number:
            self._looked = (number, self.path(number))
        return self.fs.find(self._looked[1]) is not None

    def segment(self, number: int) -> Segment:
        """Return a segment, opened when it is not.

        Raises:
            FileNotFoundError: It was compacted away.
            Corrupt: Its header is damaged.
        """
        found = self._open.get(number)
        if found is None:
            found = self._open[number] = self._opened(number)
        return found

    def create(self, number: int, base: int, before: Place, before_check: int) -> Segment:
        """Begin a segment; the log before it must have been synced."""
        fields = (_MAGIC, 1, self._store_id, number, base, *before, before_check)
        body = _HEADER.pack(*fields)
        if self.fs.find(self._draft) is not None:
            self.fs.unlink(self._draft)
        handle = self.fs.create(self._draft)
        try:
            self.fs.write_all(handle, body + _CHECK.pack(zlib.crc32(body, _SEED)), 0)
            self.fs.fdatasync(handle)
            self.fs.rename(self._draft, self.path(number))
            self.fs.fsync_dir(self.folder)
        except BaseException:
            self.fs.close(handle)
            raise
        self._open[number] = Segment(number, handle, base, before, before_check, zlib.crc32(body, _SEED))
        return self._open[number]

    def drop_below(self, number: int) -> None:
        """Forget the open segments below a number."""
        for old in [known for known in self._open if known < number]:
            self.fs.close(self._open.pop(old).handle)

    def close(self) -> None:
        """Close all segments."""
        self.drop_below(2**63)

    def walk(self, start: Place, end: int, before: int | None) -> Iterator[tuple[int, bytes, int]]:
        """Yield offset, content and check of the frames of one segment between two places, up to the first bad one."""
        return walk(self.fs, self.segment(start.segment).handle, start.offset, end, before)

    def frames(self, start: Place, end: int, before: int | None) -> Iterator[Frame]:
        """Yield those frames."""
        return map(Frame._make, self.walk(start, end, before))

    def frame(self, place: Place) -> Frame:
        """Return the frame that begins at a place.

        Raises:
            FileNotFoundError: Its segment was compacted away.
            Corrupt: It is damaged.
        """
        handle = self.segment(place.segment).handle
        raw = self.fs.read(handle, _GLANCE, place.offset)
        wanted = FRAME_SIZE + (int.from_bytes(raw[:4], "little") if len(raw) >= FRAME_SIZE else 0)
        if wanted > len(raw) == _GLANCE and wanted <= self.fs.size(handle) - place.offset:
            raw = self.fs.read(handle, wanted, place.offset)
        frame = checked(raw, 0, place.offset, None)
        if frame is None:
            raise self.damaged(place)
        return frame

    def damaged(self, place: Place) -> Corrupt:
        """Return the error for a bad frame below the mark."""
        message = (
            f"{self.path(place.segment)} is damaged at byte {place.offset}: restore the store from a backup; "
            "nothing was changed"
        )
        return Corrupt(message)

    def _opened(self, number: int) -> Segment:
        handle = self.fs.open(self.path(number))
        with contextlib.ExitStack() as undo:
            undo.callback(self.fs.close, handle)
            raw = self.fs.read(handle, _SIZE, 0)
            body, check = raw[: _HEADER.size], raw[_HEADER.size :]
            if len(raw) < _SIZE or _CHECK.unpack(check)[0] != zlib.crc32(body, _SEED) or body[:8] != _MAGIC:
                raise self.damaged(Place(number, 0))
            _, _, store_id, told, base, segment, offset, before_check = _HEADER.unpack(body)
            if (store_id, told) != (self._store_id, number):
                raise self.damaged(Place(number, 0))
            undo.pop_all()
        return Segment(number, handle, base, Place(segment, offset), before_check, zlib.crc32(body, _SEED))


def pack_place(segment: int, offset: int) -> int:
    """Return a place as one number."""
    return segment << _SHIFT | offset


def unpack_place(number: int) -> Place:
    """Return the place that `pack_place` made a number of."""
    return Place(number >> _SHIFT, number & (1 << _SHIFT) - 1)
