"""Keeps an output stream in files of bounded size: its beginning, and its end.

    stdout.log                the first half of the cap
    stdout.000000005000000.log    a quarter of the cap each, the newest two; the number is the place in the stream

A part's name says where in the stream it begins, so what was left out between two parts is plain from the names,
and no other state is needed. Folders are 0700 and files 0600, whatever the umask.
"""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.worker.process.errors import CaptureFailed

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DEFAULT_CAP", "LogFile", "log_parts", "private_folder", "read_log"]

DEFAULT_CAP: Final = 10_000_000
"""Bytes kept of one stream."""

TAIL_PARTS: Final = 2
"""How many of the newest parts are kept beside the beginning."""


class LogFile:
    """Writes one stream into capped parts. Everything here blocks: call it in a thread.

    Args:
        folder: A private folder, of this attempt alone.
        name: The stream's name.
        cap: Bytes kept in all.

    Raises:
        FileExistsError: The folder holds such a log already.
    """

    def __init__(self, folder: Path, name: str, cap: int = DEFAULT_CAP) -> None:
        self._folder = folder
        self._name = name
        self._head = max(1, cap // 2)
        self._part = max(1, cap // 4)
        self._tail: list[Path] = []
        self.written = 0
        self._open(folder / f"{name}.log", self._head)

    def __repr__(self) -> str:
        return f"<LogFile {self._name} in {self._folder}: {self.written} bytes>"

    def write(self, data: bytes) -> None:
        """Append bytes; the oldest part behind the beginning goes when there are too many.

        Raises:
            OSError: The disk is full, or such; what fitted was written.
        """
        view = memoryview(data)
        while view:
            if self._room == 0:
                self._rotate()
            done = os.write(self._fd, view[: self._room])
            self._room -= done
            self.written += done
            view = view[done:]

    def close(self) -> None:
        """Close the current part."""
        os.close(self._fd)

    def remove(self) -> None:
        """Remove all parts; the log is closed."""
        for _, path in log_parts(self._folder, self._name):
            path.unlink(missing_ok=True)

    def _open(self, path: Path, room: int) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        self._room = room

    def _rotate(self) -> None:
        done, path = self._fd, self._folder / f"{self._name}.{self.written:015d}.log"
        self._open(path, self._part)
        os.close(done)
        self._tail.append(path)
        if len(self._tail) > TAIL_PARTS:
            self._tail.pop(0).unlink()


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner can enter, or check that an existing one is.

    Raises:
        CaptureFailed: There is something else, or somebody else's, under that name.
    """
    try:
        for missing in reversed([path for path in (folder, *folder.parents) if not path.exists()]):
            missing.mkdir(mode=0o700, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        message = f"{folder} cannot hold an attempt's output ({error.strerror}): choose a plain folder of your own"
        raise CaptureFailed(message) from error
    try:
        found = os.fstat(handle)
        if found.st_uid != os.geteuid():
            message = f"{folder} belongs to user {found.st_uid}, not to you: choose a folder of your own"
            raise CaptureFailed(message)
        if stat.S_IMODE(found.st_mode) != stat.S_IRWXU:
            os.fchmod(handle, stat.S_IRWXU)
    finally:
        os.close(handle)


def log_parts(folder: Path, name: str) -> list[tuple[int, Path]]:
    """Return the parts of a stream that are kept, each with its place in the stream, in order."""
    pattern = re.compile(re.escape(name) + r"(?:\.(\d{15}))?\.log")
    found = ((pattern.fullmatch(path.name), path) for path in folder.glob(f"{name}*.log"))
    return sorted((int(match[1] or 0), path) for match, path in found if match)


def read_log(folder: Path, name: str) -> bytes:
    """Return what is kept of a stream, with a line that counts the bytes wherever some were left out; blocks."""
    text = bytearray()
    place = 0
    for start, path in log_parts(folder, name):
        if start > place:
            text += b"\n[%d bytes left out]\n" % (start - place)
        data = path.read_bytes()
        text += data
        place = start + len(data)
    return bytes(text)
