"""A place in the kernel's line for a file's lock.

Linux wakes those who wait in ``flock`` one by one, in the order in which they came. But such a wait has no limit, and
no signal ends it from Python. So a thread waits, on an open file of its own, and whoever asked waits for that thread
as long as he likes; who has given up and comes back finds his place kept.
"""

from __future__ import annotations

import fcntl
import math
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["Place"]

_MEANWHILE: Final = 0.1
"""Seconds between two times that something is done while waiting."""


_places: weakref.WeakSet[Place] = weakref.WeakSet()


class Place:
    """One place in line, from its making until the lock was had or came to nobody.

    Args:
        path: The file, which exists.

    Raises:
        OSError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        self._change = threading.Condition()
        self._wanted = True
        self._taken = False
        self._error: OSError | None = None
        _places.add(self)
        threading.Thread(target=self._stand, name="coordstore-lock", daemon=True).start()

    def wait(self, seconds: float, meanwhile: Callable[[], None] | None = None) -> bool:
        """Wait for the lock so long and tell whether it is held now, by `fd`, until `leave`; blocks.

        Args:
            seconds: How long.
            meanwhile: What to do now and then while waiting.

        Raises:
            OSError: The system does not lock this file.
        """
        give_up = time.monotonic() + seconds
        try:
            while not self._waited(give_up, _MEANWHILE if meanwhile else math.inf) and meanwhile is not None:
                meanwhile()
        except BaseException:
            self._give_up()
            raise
        with self._change:
            self._wanted = self._taken
            if self._error is not None:
                raise self._error
            return self._taken

    def _waited(self, give_up: float, part: float) -> bool:
        """Wait for so many seconds at most, and tell whether that was all."""
        left = give_up - time.monotonic()
        with self._change:
            return self._change.wait_for(self._over, min(left, part)) or left <= part

    def _give_up(self) -> None:
        with self._change:
            self._wanted = False
            if self._taken:
                self.leave()

    def kept(self) -> bool:
        """Come back after giving up; tell whether the lock did not come, and go, meanwhile."""
        with self._change:
            self._wanted = self.fd >= 0
            return self._wanted

    def leave(self) -> None:
        """Let go of the lock that was had."""
        # Said, not left to the closing: a forked child may have the file open for a moment longer.
        fcntl.flock(self.fd, fcntl.LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Close the file, as in a forked child, where no thread stands in line."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _over(self) -> bool:
        return self._taken or self._error is not None

    def _stand(self) -> None:
        error = None
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError as failed:
            error = failed
        with self._change:
            self._error = error
            if error is not None:
                self.forget()
            elif self._wanted:
                self._taken = True
            else:
                self.leave()
            self._change.notify()


def _forget_all() -> None:
    for place in list(_places):
        place.forget()


os.register_at_fork(after_in_child=_forget_all)
