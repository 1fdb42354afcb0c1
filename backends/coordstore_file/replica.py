"""The store's state in this process: keys with their values, and where records are; never the records themselves.

The newest commits are kept whole, as far as they are small, for whoever watches or follows closely; everything older
is read from the log and from the streams' homes when it is asked for.
"""

from __future__ import annotations

import bisect
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.engine import Commit, State
from coordstore.model import Change
from coordstore.names import prefix_bounds
from coordstore_file.frames import decode, only_record

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coordstore.model import Entry

__all__ = ["Home", "HomeFile", "Replica", "Stream"]

_RECENT: Final = 4096
"""Commits that are kept whole, at most."""
_RECENT_BYTES: Final = 1024 * 1024


class HomeFile(NamedTuple):
    """One JSON-lines file of a stream: the sequence and the revision it begins with, and how much of it is durable."""

    sequence: int
    revision: int
    length: int


class Home(NamedTuple):
    """The durable part of a stream's JSON lines.

    Args:
        upto: The last sequence there.
        revision: The revision of that record.
        files: The files, in order.
    """

    upto: int = 0
    revision: int = 0
    files: tuple[HomeFile, ...] = ()


@dataclass(slots=True)
class Stream:
    """A stream: when it was born, which records it has, and where they are.

    `places` tells, for each sequence above the home's last one, where in the log its frame begins.
    """

    born: int
    first: int = 1
    head: int = 0
    home: Home = field(default_factory=Home)
    places: array[int] = field(default_factory=lambda: array("Q"))

    def place(self, sequence: int) -> int:
        """Return where in the log the record of a sequence is; one above the home's last."""
        return self.places[sequence - self.home.upto - 1]

    def files(self) -> tuple[HomeFile, ...]:
        """Return the files of its home that still hold records; the others may be gone."""
        files = self.home.files
        begin = max(bisect.bisect_right(files, self.first, key=lambda file: file.sequence) - 1, 0)
        return files[begin:]

    def adopt(self, home: Home) -> None:
        """Take note that records have moved to a longer home."""
        if home.upto > self.home.upto:
            del self.places[: home.upto - self.home.upto]
            self.home = home


class Replica:
    """Keys and streams at one revision."""

    def __init__(self) -> None:
        self.keys = State()
        self.streams: dict[str, Stream] = {}
        self.recent_from = 0
        self._recent: list[Commit | bytes] = []
        self._names: list[str] = []
        self._size = 0

    @property
    def revision(self) -> int:
        """The revision of this state."""
        return self.keys.revision

    def begin(self, revision: int, entries: Mapping[str, Entry], streams: Mapping[str, Stream]) -> None:
        """Begin with the state of a snapshot."""
        # In order, so that each key is added at the end.
        changes = tuple(Change(key, entries[key]) for key in sorted(entries))
        self.keys.change(changes, revision)
        self.streams = dict(streams)
        self._names = sorted(self.streams)
        self.recent_from = revision

    def take(self, content: bytes, place: int) -> int:
        """Take in the commit that is the content of a frame which begins at a place of the log; return its revision."""
        only = only_record(content)
        if only is None:
            commit = decode(content)
            self.evolve(commit, place, content)
            return commit.revision
        revision, name, sequence = only
        self.keys.revision = revision
        # As in `evolve`, but without a call for each: thousands are taken in at once.
        stream = self.streams.get(name) or self._begun(name, revision)
        stream.head = sequence
        stream.places.append(place)
        self._recent.append(content)
        self._size += len(content)
        if self._size > 2 * _RECENT_BYTES or len(self._recent) > 2 * _RECENT:
            self._forget()
        return revision

    def evolve(self, commit: Commit, place: int, content: bytes) -> None:
        """Take in the commit that is the content of a frame which begins at a place of the log."""
        revision, changes, records, trimmed, dropped = commit
        if changes:
            self.keys.change(changes, revision)
            self._recent.append(commit)
            self._size += _size(commit)
        else:
            self.keys.revision = revision
            # Bytes, with which the garbage collector has no work; whoever follows makes records of them again.
            self._recent.append(content)
            self._size += len(content)
        for name, sequence, _, _ in records:
            stream = self.streams.get(name) or self._begun(name, revision)
            stream.head = sequence
            stream.places.append(place)
        if trimmed:
            for name, upto in trimmed.items():
                self.streams[name].first = upto + 1
        for name in dropped:
            del self.streams[name]
            del self._names[bisect.bisect_left(self._names, name)]
        if self._size > 2 * _RECENT_BYTES or len(self._recent) > 2 * _RECENT:
            self._forget()

    def _begun(self, name: str, revision: int) -> Stream:
        stream = self.streams[name] = Stream(revision)
        bisect.insort(self._names, name)
        return stream

    def names(self, prefix: str) -> list[str]:
        """Return the streams under a prefix, sorted."""
        exact, low, high = prefix_bounds(prefix)
        found = self._names[bisect.bisect_left(self._names, low) : bisect.bisect_left(self._names, high)]
        return [exact, *found] if exact in self.streams else found

    def spans(self, prefix: str) -> dict[str, tuple[int, int]]:
        """Return, by stream under a prefix, the first sequence still there and the head."""
        return {name: (self.streams[name].first, self.streams[name].head) for name in self.names(prefix)}

    def is_folder(self, name: str) -> bool:
        """Tell whether a name is a folder of the tree: a stream, or something lies below it."""
        if name in self.streams:
            return True
        return bool(self.names(f"{name}/")) or self.keys.has_below(name)

    def commits_after(self, revision: int) -> Iterator[Commit] | None:
        """Return the commits above a revision from memory, None when some of them are no more there."""
        if revision < self.recent_from:
            return None
        wanted = self._recent[revision - self.recent_from :]
        return (decode(commit) if isinstance(commit, bytes) else commit for commit in wanted)

    def _forget(self) -> None:
        """Drop the older part: half at a time, so that it costs little per commit."""
        gone = 0
        while gone < len(self._recent) and (len(self._recent) - gone > _RECENT or self._size > _RECENT_BYTES):
            self._size -= _size(self._recent[gone])
            gone += 1
        self.recent_from += gone
        del self._recent[:gone]


def _size(commit: Commit | bytes) -> int:
    """Return about how many bytes a commit that is kept takes."""
    if isinstance(commit, bytes):
        return len(commit)
    values = sum([len(entry.value) for _, entry in commit.changes if entry])
    return values + sum([len(record.data) for record in commit.records])
