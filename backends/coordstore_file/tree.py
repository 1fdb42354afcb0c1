"""The tree: every key a file with the bare value, every stream a folder of JSON lines, for `cat`, `ls` and `tail -f`.

The tree is a view. It follows the store within a moment, each file replaced by a rename; it is not durable, may lag
behind, and is never read back, with one exception: the lines that compaction has synced and checked are the home of
their records (`homes`). A key that is also a folder has its value in the file ``@`` of that folder.

Whoever writes here holds the upkeep lock, so what is shown never goes back. A small file tells up to which revision
the tree shows the store; a crash in the midst of writing, a reboot, or a tree that lags too far: all is shown anew.
"""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.names import check_key
from coordstore_file._fs import replace
from coordstore_file.lines import StreamView
from coordstore_file.pace import paced
from coordstore_file.reads import commits_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from coordstore.engine import Commit
    from coordstore_file.journal import Journal
    from coordstore_file.lines import Positioned
    from coordstore_file.replica import Home, Stream

__all__ = ["Tree"]

_ROUND: Final = 512
"""Commits that are shown at once, at most."""
_ROUND_BYTES: Final = 512 * 1024
_VALUE: Final = "@"


class _Work(NamedTuple):
    """What one round has to show."""

    revision: int
    keys: dict[str, bytes | None]
    gone: set[str]
    records: dict[str, list[Positioned]]
    cleared: dict[str, Stream | None]
    more: bool


class Tree:
    """The tree of one store; used by one thread, under the upkeep lock.

    Args:
        journal: The store.
        boot: This boot's id.
    """

    def __init__(self, journal: Journal, boot: bytes) -> None:
        self.journal = journal
        self.streams = StreamView(journal)
        self._fs = journal.fs
        self._layout = journal.layout
        self._boot = boot.hex()

    # --- following the store ----------------------------------------------------------------------------

    def show(self, stopped: Callable[[], bool] = lambda: False) -> bool:
        """Show what has been committed since the tree was written last; tell whether that is all.

        Args:
            stopped: Whether to stop early; asked between two rounds.
        """
        while not stopped():
            shown = self._shown()
            work = self._work(shown) if shown is not None else None
            if work is None:
                self.show_all()
                continue
            if shown != work.revision:
                self._tell(shown or 0, whole=False)
                self._write(work)
                self._tell(work.revision, whole=True)
            if not work.more:
                return True
        return False

    def settle_empty(self) -> None:
        """Show a store that is empty, which is quickly done, unless the tree is known already."""
        with self.journal.mutex:
            self.journal.refresh()
            empty = not self.journal.replica.revision
        if empty and self._shown() is None:
            self.show_all()

    def check(self, stopped: Callable[[], bool]) -> None:
        """Put right what somebody changed by hand since the tree was written last."""
        found = self._fs.find(self._layout.shown)
        with self.journal.mutex:
            keys = self.journal.replica.keys.list("", None, None, False).entries
        for entry in paced(keys):
            if stopped() or found is None:
                return
            path = self._path(entry.key)
            there = self._fs.find(path)
            if there is None or there.size != len(entry.value) or there.changed > found.changed:
                with self.journal.mutex:
                    now = self.journal.replica.keys.get(entry.key)
                if now is not None:
                    self._put(entry.key, now.value)

    def show_all(self) -> None:
        """Write the whole tree anew and remove what is left of keys and streams that are gone."""
        self._tell(0, whole=False)
        with self.journal.mutex:
            self.journal.refresh()
            replica = self.journal.replica
            revision = replica.revision
            entries = {entry.key: entry.value for entry in replica.keys.list("", None, None, False).entries}
            streams = replica.names("")
        self._remove_strays("", set(entries), set(streams), revision)
        for key, value in paced(entries.items()):
            self._put(key, value)
        for name in streams:
            self._folder(name)
            self.streams.rewrite(name)
        self._tell(revision, whole=True)

    def settle(self, name: str, stream: Stream, records: Sequence[Positioned]) -> tuple[Home, bool]:
        """Make the lines of records durable behind a stream's home; see `StreamView.settle`."""
        self._folder(name)
        return self.streams.settle(name, stream, records)

    def clear(self, name: str, stream: Stream | None, upto: int) -> None:
        """Remove the files of a stream that hold no record any more; see `StreamView.clear`."""
        self.streams.clear(name, stream, upto)
        if stream is None:
            self._prune([name])

    def _work(self, shown: int) -> _Work | None:
        with self.journal.mutex:
            self.journal.refresh()
            if not self.journal.floor <= shown <= self.journal.replica.revision:
                return None
            commits, more = _round(commits_after(self.journal, shown))
            return self._sorted(commits, more=more)

    def _sorted(self, commits: list[Commit], *, more: bool) -> _Work:
        replica = self.journal.replica
        revision = commits[-1].revision if more else replica.revision
        touched = {change.key for commit in commits for change in commit.changes}
        keys = {key: entry.value if (entry := replica.keys.get(key)) else None for key in touched}
        records: dict[str, list[Positioned]] = {}
        for commit in commits:
            for position, record in enumerate(commit.records):
                stream = replica.streams.get(record.stream)
                if stream and record.revision >= stream.born and record.sequence > stream.home.upto:
                    records.setdefault(record.stream, []).append((record, position))
        names = {name for commit in commits for name in (*commit.dropped, *commit.trimmed)}
        cleared = {name: replica.streams.get(name) for name in names}
        # What is not durable yet may come back, and then needs its files.
        durable = self.journal.mark.synced >= self.journal.at
        gone = {key for key, value in keys.items() if value is None}
        return _Work(revision, keys, gone, records, cleared if durable else {}, more)

    def _write(self, work: _Work) -> None:
        self._prune({self._remove(key) for key in work.gone})
        for key, value in paced(work.keys.items()):
            if value is not None:
                self._put(key, value)
        for name, records in work.records.items():
            self._folder(name)
            self.streams.append(name, records)
        for name, stream in work.cleared.items():
            self.clear(name, stream, work.revision)

    # --- how far ----------------------------------------------------------------------------------------

    def _shown(self) -> int | None:
        """Return up to which revision the tree shows the store, None when it is not known."""
        if self._fs.find(self._layout.shown) is None:
            return None
        handle = self._fs.open(self._layout.shown)
        try:
            told = json.loads(self._fs.read(handle, 4096, 0).rstrip(b"\0 \n"))
            return int(told["revision"]) if told["boot"] == self._boot and told["whole"] else None
        except (ValueError, KeyError, TypeError):
            return None
        finally:
            self._fs.close(handle)

    def _tell(self, revision: int, *, whole: bool) -> None:
        text = json.dumps({"revision": revision, "whole": whole, "boot": self._boot}).ljust(127) + "\n"
        if self._fs.find(self._layout.shown) is None:
            self._fs.close(self._fs.create(self._layout.shown))
        handle = self._fs.open(self._layout.shown)
        try:
            self._fs.write_all(handle, text.encode(), 0)
        finally:
            self._fs.close(handle)

    # --- keys -------------------------------------------------------------------------------------------

    def _path(self, key: str) -> Path:
        path = self._layout.root / key
        found = self._fs.find(path)
        return path / _VALUE if found is not None and found.kind == "folder" else path

    def _put(self, key: str, value: bytes) -> None:
        with self.journal.mutex:
            folder = self.journal.replica.is_folder(key)
        self._folder(key if folder else key.rpartition("/")[0])
        path = self._path(key)
        replace(self._fs, path, self._layout.showing, value, durable=False)

    def _remove(self, key: str) -> str:
        """Remove a key's file; return the folder that it was in."""
        path = self._path(key)
        self._discard(path)
        return key if path.name == _VALUE else key.rpartition("/")[0]

    def _folder(self, name: str) -> None:
        """Make a folder of the tree; the value of a key that was a file moves into it."""
        path = self._layout.root
        for segment in name.split("/") if name else ():
            path = path / segment
            found = self._fs.find(path)
            if found is not None and found.kind == "folder":
                continue
            if found is not None:
                self._fs.rename(path, self._layout.showing)
            self._fs.mkdir(path)
            if found is not None and found.kind == "file":
                self._fs.rename(self._layout.showing, path / _VALUE)

    def _prune(self, folders: Iterable[str]) -> None:
        """Remove folders that have become empty, and what has become empty by that; each is looked into once."""
        for name in sorted(folders_of(folders), key=len, reverse=True):
            if name:
                self._prune_one(name)

    def _prune_one(self, name: str) -> None:
        """Remove a folder that has become empty; one in which only its own value is left becomes a file."""
        with self.journal.mutex:
            if self.journal.replica.is_folder(name):
                return
        path = self._layout.root / name
        found = self._fs.find(path)
        if found is None or found.kind != "folder":
            return
        names = self._fs.list(path)
        if set(names) - {_VALUE}:
            return
        if names:
            self._fs.rename(path / _VALUE, self._layout.showing)
        self._fs.rmdir(path)
        if names:
            self._fs.rename(self._layout.showing, path)

    def _remove_strays(self, folder: str, keys: set[str], streams: set[str], revision: int) -> None:
        """Remove what looks like a key or a stream and is none; other files of a person stay."""
        for name in self._fs.list(self._layout.root / folder):
            below = f"{folder}/{name}" if folder else name
            found = self._fs.find(self._layout.root / below)
            if found is None or not _is_name(below):
                continue
            if found.kind == "folder":
                self._remove_strays(below, keys, streams, revision)
                if below not in keys:
                    self._discard(self._layout.root / below / _VALUE)
                if below not in streams:
                    self.streams.clear(below, None, revision)
                with contextlib.suppress(OSError):
                    self._fs.rmdir(self._layout.root / below)
            elif below not in keys:
                self._discard(self._layout.root / below)

    def _discard(self, path: Path) -> None:
        found = self._fs.find(path)
        if found is not None and found.kind != "folder":
            self._fs.unlink(path)


def _round(commits: Iterable[Commit]) -> tuple[list[Commit], bool]:
    """Take commits for one round; tell whether some are left."""
    taken: list[Commit] = []
    size = 0
    for commit in commits:
        if len(taken) >= _ROUND or size > _ROUND_BYTES:
            return taken, True
        taken.append(commit)
        size += sum(len(record.data) for record in commit.records)
    return taken, False


def _is_name(text: str) -> bool:
    try:
        check_key(text)
    except ValueError:
        return False
    return True


def folders_of(names: Iterable[str]) -> set[str]:
    """Return the folders that lead to names, these and the topmost (the root) included."""
    found = {""}
    for name in names:
        while name not in found:
            found.add(name)
            name = name.rpartition("/")[0]  # noqa: PLW2901  (walking up)
    return found
