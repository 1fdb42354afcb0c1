"""The store's lock: a flock on a file that is never unlinked, in which its holder is named.

A flock ends with its holder, however that dies, and is never broken: who waits too long is told by whom. The
file is opened at each turn and closed after it, so everyone who watches it with inotify learns of the turn's end.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from filelock import FileLock, Timeout

from coordstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["StoreLock"]

_POLL: Final = 0.001
"""Seconds between two tries while somebody else holds it."""
_LINE: Final = 128


class StoreLock:
    """A lock between processes, and between handles of one; each thread that uses it holds it for itself.

    Args:
        path: The lock file, in a private directory.
        wait: Seconds to wait for it before giving up.
    """

    def __init__(self, path: Path, wait: float) -> None:
        self.path = path
        self.wait = wait
        self._lock = FileLock(
            path, mode=0o600, poll_interval=_POLL, fallback_to_soft=False, preserve_lock_file=True, on_acquired=_sign
        )

    def __repr__(self) -> str:
        """Show the file and who stands in it."""
        return f"<StoreLock {self.path} last taken by {self.holder()}>"

    @contextmanager
    def held(self, wait: float | None = None) -> Iterator[None]:
        """Hold the lock for the body; blocks.

        Args:
            wait: Seconds, instead of the usual ones.

        Raises:
            Unavailable: Somebody else held it all the time, who is named; or the file cannot be used.
        """
        patience = self.wait if wait is None else wait
        try:
            self._lock.acquire(timeout=patience)
        except Timeout as error:
            message = f"{self.path} was held for {patience:g} s by {self.holder()}: not applied; look at that process"
            raise Unavailable(message) from error
        except OSError as error:
            message = f"the lock file {self.path} cannot be used ({error.strerror or error}): not applied"
            raise Unavailable(message) from error
        try:
            yield
        finally:
            self._lock.release()

    def holder(self) -> str:
        """Return who took the lock last, in words; blocks."""
        try:
            words = self.path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError):
            return "an unknown process"
        return f"process {words[1]} on {words[3]}" if len(words) == len(_words()) else "an unknown process"


def _words() -> tuple[str, str, str, str]:
    return "pid", str(os.getpid()), "host", os.uname().nodename or "?"


def _sign(descriptor: int) -> None:
    line = " ".join(_words()).encode()[: _LINE - 1].ljust(_LINE - 1) + b"\n"
    os.pwrite(descriptor, line, 0)
