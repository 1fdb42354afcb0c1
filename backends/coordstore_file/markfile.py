"""The mark's file, as one handle has it open: read under no lock, and noticed when another one is at its path."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.errors import Corrupt, StoreReplaced
from coordstore_file.mark import MARK_SIZE, Mark

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore_file._fs import FileSystem

__all__ = ["MarkFile"]

_TRIES: Final = 1000
"""Readings while somebody writes."""


class MarkFile:
    """The file that holds the mark.

    Args:
        fs: The file system.
        path: Where it lies.
        root: The store's directory, for messages.
    """

    def __init__(self, fs: FileSystem, path: Path, root: Path) -> None:
        self._fs = fs
        self._path = path
        self._root = root
        self._handle = -1
        self._identity = (0, 0)

    def open(self) -> None:
        """Open it.

        Raises:
            Corrupt: It is missing.
        """
        try:
            self._handle = self._fs.open(self._path)
        except FileNotFoundError as error:
            message = f"{self._path} is missing: restore the store from a backup; nothing was changed"
            raise Corrupt(message) from error
        found = self._fs.find(self._path)
        self._identity = found.identity if found else (0, 0)

    def check(self) -> None:
        """Look whether it is still what is found at its path.

        Raises:
            StoreReplaced: It is not.
        """
        found = self._fs.find(self._path)
        if found is None or found.identity != self._identity:
            how = "removed" if found is None else "replaced by another one"
            message = f"the store in {self._root} was {how} under this handle: open it anew"
            raise StoreReplaced(message)

    def read(self) -> tuple[Mark | None, bool]:
        """Return the mark, and whether all of it is good; tries again while somebody writes it."""
        tries = 0
        while True:
            mark, good = Mark.parse(self._fs.read(self._handle, MARK_SIZE + 1, 0))
            tries += 1
            if good or tries == _TRIES:
                return mark, good

    def write(self, mark: Mark) -> None:
        """Write a mark into its slot."""
        self._fs.write_all(self._handle, mark.pack(), mark.slot)

    def close(self) -> None:
        """Close it."""
        if self._handle >= 0:
            self._fs.close(self._handle)
        self._handle = -1
