"""Every touch of the disk goes through here, so that a simulated file system can stand in and crash at each point.

What is promised of an implementation is what POSIX promises, and no more:

- bytes written are visible to every reader at once, and survive a power cut only after `fdatasync` of that file;
- a name made, moved or removed survives a power cut only after `fsync_dir` of its directory; a rename is atomic;
- `write_all` writes everything or raises; after an error any part of it may have been written.

The lock and the lease table are not behind this seam: nothing in them needs to survive anything.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import sys
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FileSystem", "Found", "OsFileSystem", "replace"]

_FULL_SYNC: Final = getattr(fcntl, "F_FULLFSYNC", None)


class Found(NamedTuple):
    """What lies at a path: which file it is, of what kind, how long, and when it was changed (nanoseconds)."""

    device: int
    inode: int
    kind: str
    size: int
    changed: int

    @property
    def identity(self) -> tuple[int, int]:
        """Device and inode."""
        return self.device, self.inode


class FileSystem(Protocol):
    """What the backend asks of a file system; everything blocks and raises `OSError` as the system does."""

    def open(self, path: Path) -> int:
        """Open a regular file that exists, for reading and writing; follow no link."""

    def create(self, path: Path) -> int:
        """Create a file that must be absent, for this user alone, and open it."""

    def close(self, handle: int) -> None:
        """Close a file."""

    def size(self, handle: int) -> int:
        """Return the length of an open file."""

    def find(self, path: Path) -> Found | None:
        """Return what lies at a path (of a link: the link), None when there is nothing."""

    def list(self, path: Path) -> list[str]:
        """Return the names in a directory."""

    def read(self, handle: int, length: int, offset: int) -> bytes:
        """Return so many bytes from an offset, fewer only at the end of the file."""

    def write_all(self, handle: int, data: bytes, offset: int) -> None:
        """Write all bytes at an offset; a short write is no success."""

    def truncate(self, handle: int, length: int) -> None:
        """Cut a file."""

    def fdatasync(self, handle: int) -> None:
        """Make a file's bytes and length survive a power cut."""

    def fsync_dir(self, path: Path) -> None:
        """Make the names in a directory survive a power cut."""

    def rename(self, old: Path, new: Path) -> None:
        """Move a name, over another file if there is one."""

    def unlink(self, path: Path) -> None:
        """Remove a file's name."""

    def mkdir(self, path: Path) -> None:
        """Make a directory, for this user alone."""

    def rmdir(self, path: Path) -> None:
        """Remove an empty directory."""


class OsFileSystem:
    """The system's own."""

    def open(self, path: Path) -> int:
        """Open a file."""
        return os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)

    def create(self, path: Path) -> int:
        """Create a file."""
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        if stat.S_IMODE(os.fstat(handle).st_mode) != 0o600:  # noqa: PLR2004  (a mode; a umask can only take bits away)
            os.fchmod(handle, 0o600)
        return handle

    def close(self, handle: int) -> None:
        """Close a file."""
        os.close(handle)

    def size(self, handle: int) -> int:
        """Return a length."""
        return os.fstat(handle).st_size

    def find(self, path: Path) -> Found | None:
        """Look at a path."""
        try:
            found = os.lstat(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        kind = "file" if stat.S_ISREG(found.st_mode) else "folder" if stat.S_ISDIR(found.st_mode) else "other"
        return Found(found.st_dev, found.st_ino, kind, found.st_size, found.st_mtime_ns)

    def list(self, path: Path) -> list[str]:
        """Return names."""
        return os.listdir(path)  # noqa: PTH208  (names are what is wanted)

    def read(self, handle: int, length: int, offset: int) -> bytes:
        """Read, as often as it takes."""
        data = os.pread(handle, length, offset)
        while len(data) < length and (more := os.pread(handle, length - len(data), offset + len(data))):
            data += more
        return data

    def write_all(self, handle: int, data: bytes, offset: int) -> None:
        """Write, as often as it takes: after a short write the next one tells why."""
        view = memoryview(data)
        while view:
            written = os.pwrite(handle, view, offset)
            view, offset = view[written:], offset + written

    def truncate(self, handle: int, length: int) -> None:
        """Cut."""
        os.ftruncate(handle, length)

    def fdatasync(self, handle: int) -> None:
        """Sync; on macOS to the medium, where an ordinary sync stops at the drive's cache."""
        if _FULL_SYNC is not None:
            fcntl.fcntl(handle, _FULL_SYNC)
        elif sys.platform == "darwin":
            os.fsync(handle)
        else:
            os.fdatasync(handle)

    def fsync_dir(self, path: Path) -> None:
        """Sync names."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def rename(self, old: Path, new: Path) -> None:
        """Move a name."""
        os.rename(old, new)  # noqa: PTH104  (called often)

    def unlink(self, path: Path) -> None:
        """Remove a name."""
        os.unlink(path)  # noqa: PTH108  (called often)

    def mkdir(self, path: Path) -> None:
        """Make a directory."""
        os.mkdir(path, 0o700)  # noqa: PTH102  (called often)

    def rmdir(self, path: Path) -> None:
        """Remove a directory."""
        os.rmdir(path)  # noqa: PTH106  (called often)


def replace(fs: FileSystem, path: Path, draft: Path, data: bytes, *, durable: bool) -> None:
    """Put a file in place at once and whole, written under another name first."""
    if fs.find(draft) is not None:
        fs.unlink(draft)
    handle = fs.create(draft)
    try:
        fs.write_all(handle, data, 0)
        if durable:
            fs.fdatasync(handle)
    except OSError:
        with contextlib.suppress(OSError):
            fs.unlink(draft)
        raise
    finally:
        fs.close(handle)
    fs.rename(draft, path)
    if durable:
        fs.fsync_dir(path.parent)
