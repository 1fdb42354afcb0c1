"""A file system in memory that records what is done to it, fails where it is told to, and is begun from any state.

It keeps to `disk`'s model and nothing else: what was not forced is lost in some state. The locks and the lease table
are real files in a directory of the test, as the backend leaves them outside of its seam; the directories that lead
to the store, which opening makes there, exist here from the start or are made again, as opening would.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, NamedTuple

from coordstore_file._fs import Found
from tests.faults.crash.disk import Ack, Cut, Disk, Move, Name, Recording

if TYPE_CHECKING:
    from pathlib import Path

DEVICE = 99
INTERNAL = ".coord"


class Fault(NamedTuple):
    """Which mutating call fails, counted from 1, how, and whether all after it fail as well.

    A write that fails leaves half of its bytes behind; after a sync of bytes that failed they can never be forced, as
    on Linux, where the pages count as clean then. (Names are the journal's: it tries again, or the file system stops.)
    """

    at: int = 0
    error: int = errno.EIO
    for_ever: bool = False
    only: str = ""
    """The calls that fail, each time, instead of a count: as ``fdatasync 7``."""


class SimFS:
    """The file system of one boot.

    Args:
        root: The path of the store, as it is called.
        disk: What survived the last boot.
        fault: What fails.
    """

    def __init__(self, root: Path, disk: Disk | None = None, fault: Fault | None = None) -> None:
        self.recording = Recording(disk.copy() if disk else Disk())
        self.calls: list[str] = []
        self._root = f"{root}/"
        self._fault = fault or Fault()
        self._open: dict[int, int] = {}
        self._next = 1000
        self._changed: dict[int, int] = {}
        if self.recording.now.find(INTERNAL) is None:
            self.recording.make(0, INTERNAL, is_folder=True)

    @property
    def struck(self) -> bool:
        """Whether the planned fault has struck."""
        return 0 < self._fault.at <= len(self.calls)

    def fail(self, fault: Fault) -> None:
        """Plan a fault."""
        self._fault = fault

    def recover(self) -> None:
        """Let nothing fail any more."""
        self._fault = Fault()

    def ack(self, deeds: int, word: str = "") -> None:
        """Take note that a caller was told of so many deeds."""
        self.recording.ack(Ack("0", deeds, word))

    # --- looking ----------------------------------------------------------------------------------------

    def open(self, path: Path) -> int:
        """Open a file that exists."""
        node = self._node(path)
        if node not in self.recording.now.files:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return self._handle(node)

    def close(self, handle: int) -> None:
        """Close a file."""
        del self._open[handle]

    def size(self, handle: int) -> int:
        """Return a length."""
        return len(self.recording.now.files[self._open[handle]])

    def find(self, path: Path) -> Found | None:
        """Look at a path."""
        node = self.recording.now.find(self._below(path))
        if node is None:
            return None
        file = self.recording.now.files.get(node)
        kind = "folder" if file is None else "file"
        return Found(DEVICE, node, kind, len(file or b""), self._changed.get(node, 0))

    def list(self, path: Path) -> list[str]:
        """Return names."""
        node = self._node(path)
        if node not in self.recording.now.folders:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
        return sorted(self.recording.now.folders[node])

    def read(self, handle: int, length: int, offset: int) -> bytes:
        """Read."""
        return bytes(self.recording.now.files[self._open[handle]][offset : offset + length])

    # --- changing ---------------------------------------------------------------------------------------

    def create(self, path: Path) -> int:
        """Create a file."""
        self._count("create", path)
        return self._handle(self._make(path, is_folder=False))

    def write_all(self, handle: int, data: bytes, offset: int) -> None:
        """Write, or fail half-way."""
        node = self._open[handle]
        try:
            self._count("write", node)
        except OSError:
            self.recording.write(node, offset, bytes(data[: len(data) // 2]))
            raise
        self.recording.write(node, offset, bytes(data))
        self._changed[node] = len(self.calls)

    def truncate(self, handle: int, length: int) -> None:
        """Cut."""
        self._count("truncate", self._open[handle])
        self.recording.do(Cut(self._open[handle], length))

    def fdatasync(self, handle: int) -> None:
        """Force bytes; when it fails they can never be forced any more."""
        node = self._open[handle]
        try:
            self._count("fdatasync", node)
        except OSError:
            self.recording.sync(node, failed=True)
            raise
        self.recording.sync(node)

    def fsync_dir(self, path: Path) -> None:
        """Force names; those above the store are not ours."""
        if not f"{path}/".startswith(self._root):
            return
        node = self._node(path)
        self._count("fsync_dir", path)
        self.recording.sync(node)

    def rename(self, old: Path, new: Path) -> None:
        """Move a name."""
        self._count("rename", new)
        moved = self._node(old)
        (source, name), (folder, target) = self._place(old), self._place(new)
        self.recording.do(Move(folder, target, source, name, moved))

    def unlink(self, path: Path) -> None:
        """Remove a file's name."""
        self._count("unlink", path)
        self._node(path)
        folder, name = self._place(path)
        self.recording.do(Name(folder, name, None))

    def mkdir(self, path: Path) -> None:
        """Make a directory."""
        self._count("mkdir", path)
        self._make(path, is_folder=True)

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""
        self._count("rmdir", path)
        if self.list(path):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY), str(path))
        folder, name = self._place(path)
        self.recording.do(Name(folder, name, None))

    # --- inside -----------------------------------------------------------------------------------------

    def _count(self, call: str, what: object) -> None:
        self.calls.append(f"{call} {what}")
        now, fault = len(self.calls), self._fault
        counted = fault.at and (now == fault.at or (fault.for_ever and now > fault.at))
        if counted or self.calls[-1] == fault.only:
            raise OSError(fault.error, os.strerror(fault.error), str(what))

    def _below(self, path: Path) -> str:
        return f"{path}/".removeprefix(self._root).removesuffix("/")

    def _node(self, path: Path) -> int:
        node = self.recording.now.find(self._below(path))
        if node is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return node

    def _place(self, path: Path) -> tuple[int, str]:
        return self._node(path.parent), path.name

    def _make(self, path: Path, *, is_folder: bool) -> int:
        folder, name = self._place(path)
        if name in self.recording.now.folders[folder]:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        return self.recording.make(folder, name, is_folder=is_folder)

    def _handle(self, node: int) -> int:
        self._next += 1
        self._open[self._next] = node
        return self._next
