"""Read objects of a repository of ours in place: loose or packed, its own or borrowed, each checked against its id.

Merging and judging a change look at a few small trees; a git process for each look takes far longer than the look.
What cannot be read here, or is not formed as git forms it, is `Unclear`: then git itself is asked.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore_orchestrator.git.objects import Loose, algorithm_of, digest_of, read_loose
from coordstore_orchestrator.git.packs import Packs
from coordstore_orchestrator.git.skeleton import object_stores

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

__all__ = ["TREE", "Commit", "Database", "Entry", "Unclear", "tree_text"]

TREE: Final = "40000"
_MODES: Final = frozenset({TREE, "100644", "100755", "120000", "160000"})
CACHED_BYTES: Final = 1 << 25
"""Bytes of trees and commits that are kept in memory."""


class Unclear(Exception):
    """This is beyond what is done without git: ask it."""


class Entry(NamedTuple):
    """What a name in a tree stands for: a mode as trees write it, and an id."""

    mode: str
    oid: str


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit's tree and parents."""

    tree: str
    parents: tuple[str, ...]


class Database:
    """All objects that a repository sees. Its methods block, and may be called from any thread.

    Args:
        git_dir: A bare repository of ours.
    """

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self._stores: list[Path] = []
        self._packs: dict[Path, Packs] = {}
        self._known: OrderedDict[str, tuple[int, Mapping[str, Entry] | Commit]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"Database({os.fspath(self.git_dir)!r})"

    @property
    def stores(self) -> list[Path]:
        """The `objects` folders, the repository's own first."""
        if not self._stores:
            self._stores = object_stores(self.git_dir)
        return self._stores

    def read(self, oid: str, limit: int | None = None) -> Loose | None:
        """Return an object; None: it is not there, or git has to be asked.

        Args:
            oid: Its id in hex.
            limit: Content above this many bytes is not returned.

        Raises:
            GitError: A loose object is not what its id says.
        """
        found = read_loose(self.stores, oid, limit)
        if found is not None:
            return found
        for store in self.stores:
            packed = self._of(store, oid).read(oid)
            if packed is None:
                continue
            kind, body = packed
            if digest_of(kind, body, algorithm_of(oid)) == oid:
                return Loose(kind, len(body), body if limit is None or len(body) <= limit else None)
        return None

    def _of(self, store: Path, oid: str) -> Packs:
        if store not in self._packs:
            self._packs[store] = Packs(store, len(oid) // 2)
        return self._packs[store]

    def commit(self, oid: str) -> Commit:
        """Return a commit.

        Raises:
            Unclear: It cannot be read here.
        """
        known = self._cached(oid)
        if isinstance(known, Commit):
            return known
        lines = self._body(oid, "commit").partition(b"\n\n")[0].split(b"\n")
        if not lines[0].startswith(b"tree "):
            raise Unclear(oid)
        parents = tuple(line[7:].decode("ascii") for line in lines[1:] if line.startswith(b"parent "))
        found = Commit(lines[0][5:].decode("ascii"), parents)
        self._keep(oid, found, len(lines) * 64)
        return found

    def tree(self, oid: str | None) -> Mapping[str, Entry]:
        """Return the names in a tree and what they stand for; of no tree: none.

        Raises:
            Unclear: It cannot be read here, or is not formed as git forms it.
        """
        if oid is None:
            return {}
        known = self._cached(oid)
        if known is not None and not isinstance(known, Commit):
            return known
        body = self._body(oid, "tree")
        found = _parsed(body, len(oid) // 2)
        if tree_text(found) != body:
            raise Unclear(oid)
        self.remember(oid, found)
        return found

    def remember(self, oid: str, tree: Mapping[str, Entry]) -> None:
        """Take note of a tree that was just made.

        Args:
            oid: Its id.
            tree: Its content.
        """
        self._keep(oid, tree, 128 * len(tree))

    def _body(self, oid: str, kind: str) -> bytes:
        found = self.read(oid)
        if found is None or found.kind != kind or found.body is None:
            raise Unclear(oid)
        return found.body

    def _cached(self, oid: str) -> Mapping[str, Entry] | Commit | None:
        with self._lock:
            found = self._known.get(oid)
            if found is None:
                return None
            self._known.move_to_end(oid)
            return found[1]

    def _keep(self, oid: str, value: Mapping[str, Entry] | Commit, size: int) -> None:
        with self._lock:
            if oid in self._known:
                return
            self._known[oid] = (size, value)
            self._bytes += size
            while self._bytes > CACHED_BYTES and len(self._known) > 1:
                self._bytes -= self._known.popitem(last=False)[1][0]


def _parsed(body: bytes, width: int) -> dict[str, Entry]:
    found: dict[str, Entry] = {}
    at = 0
    try:
        while at < len(body):
            end = body.index(b"\0", at)
            mode, _, name = body[at:end].decode("utf-8", "surrogateescape").partition(" ")
            if mode not in _MODES or not name or "/" in name:
                raise Unclear(name)
            at = end + 1 + width
            found[name] = Entry(mode, body[end + 1 : at].hex())
    except ValueError as error:
        raise Unclear(str(error)) from error
    return found


def tree_text(tree: Mapping[str, Entry]) -> bytes:
    """Return the content of a tree object, in git's order: a folder stands where its name with a `/` belongs.

    Args:
        tree: What its names stand for.
    """
    rows: Iterable[tuple[bytes, Entry]] = ((os.fsencode(name), entry) for name, entry in tree.items())
    ordered = sorted(rows, key=lambda row: row[0] + (b"/" if row[1].mode == TREE else b""))
    return b"".join(b"%s %s\0%s" % (entry.mode.encode(), name, bytes.fromhex(entry.oid)) for name, entry in ordered)
