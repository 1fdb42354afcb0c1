"""When the write-ahead log has grown long: its file keeps its length, so the file's size does not tell.

A checkpoint copies the log into the database; the next transaction then begins the log anew, over what is there. To
write over blocks is cheaper than to have them made, and to sync them too. So the file is cut only when it is far
longer than it need be. The format is SQLite's documented one: a header of 32 bytes with two salts, then frames, each
a header of 24 bytes and a page. A frame is of the log that was begun last when it repeats the salts.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["WriteAheadLog"]

_HEADER: Final = 32
_FRAME: Final = 24
_FAR: Final = 4
_LOOKS: Final = 8
"""One in so many times the file is looked into while its length stays: until it grows, the log fits in it."""


class WriteAheadLog:
    """The log of one database, looked at under the store's lock, by one thread.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._salts = b""
        self._from = 0
        self._step = 1
        self._size = 0
        self._asked = 0

    def due(self, limit: int) -> bool:
        """Tell whether it is longer than so many bytes; after a checkpoint, whether it has grown by a quarter of that.

        Raises:
            OSError: It cannot be read.
        """
        size = self._path.stat().st_size
        if size < limit:
            return False
        self._asked += 1
        if size == self._size and self._asked % _LOOKS:
            return False
        self._size = size
        handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            header = os.pread(handle, _HEADER, 0)
            if header[16:24] != self._salts:
                self._salts, self._from = header[16:24], limit
                self._step = _FRAME + int.from_bytes(header[8:12], "big")
            at = _HEADER + max(self._from - _HEADER, 0) // self._step * self._step
            return os.pread(handle, _FRAME, at)[8:16] == self._salts
        finally:
            os.close(handle)

    def overlong(self, limit: int) -> bool:
        """Tell whether its file should be cut: readers held checkpoints back, and it grew."""
        return self._path.stat().st_size > _FAR * limit

    def checkpointed(self, frames: int, limit: int) -> None:
        """Take note of a checkpoint; while readers keep the log from being begun anew, the next one is not soon."""
        self._from = _HEADER + frames * self._step + limit // 4
