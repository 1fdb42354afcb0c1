"""What each new worktree gets beside what git knows: copied files such as `.env`, and ports of its own."""

from __future__ import annotations

import shutil
import socket
import stat
import threading
from typing import TYPE_CHECKING, Final

from coordstore.errors import CoordError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ExtrasRefused", "Ports", "copy_files"]

SIZE_MAX: Final = 1 << 24
FIRST_PORT: Final = 20000
LAST_PORT: Final = 32000
"""Below what the kernel gives away by itself."""


class ExtrasRefused(CoordError, ValueError):
    """A file that worktrees are to get cannot be copied; the message says which and why."""


def copy_files(source: Path, worktree: Path, names: Sequence[str]) -> list[str]:
    """Copy plain files of the user's checkout into a worktree; one that is missing is left out. Blocks.

    Args:
        source: The root of the checkout.
        worktree: The worktree.
        names: Paths below both.

    Returns:
        The names that were copied.

    Raises:
        ExtrasRefused: A name leads outside, is no plain file, or is too large.
    """
    copied = []
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or parts[0] == ".git":
            message = f"worktree.copy: {name!r} leads out of the checkout: name a file below its root"
            raise ExtrasRefused(message)
        origin, target = source / name, worktree / name
        try:
            found = origin.lstat()
        except FileNotFoundError:
            continue
        if not stat.S_ISREG(found.st_mode) or found.st_size > SIZE_MAX:
            message = f"worktree.copy: {name!r} is no plain file of at most {SIZE_MAX} bytes"
            raise ExtrasRefused(message)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_symlink() or not target.parent.resolve().is_relative_to(worktree.resolve()):
            message = f"worktree.copy: {name!r} is a link in the worktree, and is not followed"
            raise ExtrasRefused(message)
        shutil.copy2(origin, target)
        copied.append(name)
    return copied


class Ports:
    """Gives each agent of a worker a range of ports that no other agent of it has, and that nobody uses now.

    Ranges are given in turn: one that was just given back, where connections may linger, is the last to be given again.

    Args:
        size: How many each gets.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._taken: set[int] = set()
        self._next = 0
        self._lock = threading.Lock()  # agents start at the same time, each asking on a thread of its own

    def take(self) -> range:
        """Return a range of its own. Blocks.

        Raises:
            ExtrasRefused: There is none left.
        """
        with self._lock:
            firsts = range(FIRST_PORT, LAST_PORT - self._size, self._size)
            for turn in range(self._next, self._next + len(firsts)):
                first = firsts[turn % len(firsts)]
                ports = range(first, first + self._size)
                if first not in self._taken and all(map(_is_free, ports)):
                    self._taken.add(first)
                    self._next = turn + 1
                    return ports
        message = f"no {self._size} ports in a row are free between {FIRST_PORT} and {LAST_PORT}: lower worktree.ports"
        raise ExtrasRefused(message)

    def give_back(self, ports: range) -> None:
        """Let somebody else have a range."""
        self._taken.discard(ports.start)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
