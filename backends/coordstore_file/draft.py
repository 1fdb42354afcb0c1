"""What a batch is about to do: the engine decides against this, and nothing of it shows before it is durable."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.engine import State
from coordstore.names import under

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.engine import Commit
    from coordstore.model import Entry
    from coordstore_file.replica import Replica

    Keys = list[str]

__all__ = ["Draft"]


class Draft(State):
    """A state over another one, which stays as it is; only what decisions look at is here.

    Args:
        base: The state below.
    """

    def __init__(self, base: Replica) -> None:
        super().__init__()
        self.revision = base.revision
        self.commits: list[Commit] = []
        self.swept = False
        self._base = base
        self._changed: dict[str, Entry | None] = {}
        self._heads: dict[str, int] = {}
        self._firsts: dict[str, int] = {}

    def evolve(self, commit: Commit) -> None:
        """Take a commit in."""
        if commit.revision == self.revision:
            return
        for key, entry in commit.changes:
            self._changed[key] = entry
        for record in commit.records:
            self._heads[record.stream] = record.sequence
        if commit.trimmed:
            for name, upto in commit.trimmed.items():
                self._firsts[name] = upto + 1
        for name in commit.dropped:
            self._firsts[name], self._heads[name] = 1, 0
        self.revision = commit.revision
        self.commits.append(commit)

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return self._changed[key] if key in self._changed else self._base.keys.get(key)

    def keys(self, prefix: str) -> Keys:
        """Return the keys that a prefix covers, sorted."""
        found = set(self._base.keys.keys(prefix)) | {key for key in self._changed if under(prefix, key)}
        return sorted(key for key in found if self.get(key) is not None)

    def leased(self, lease: int) -> tuple[str, ...]:
        """Return the keys that hang on a lease, sorted."""
        found = {key for key in self._base.keys.leased(lease) if key not in self._changed}
        return tuple(sorted(found | {e.key for e in self._entries_changed() if e.lease == lease}))

    def leases(self) -> frozenset[int]:
        """Return the leases that keys hang on, and perhaps some on which the last one has just gone."""
        return self._base.keys.leases() | {e.lease for e in self._entries_changed() if e.lease is not None}

    def head(self, name: str) -> int:
        """Return the last sequence of a stream."""
        if name in self._heads:
            return self._heads[name]
        stream = self._base.streams.get(name)
        return stream.head if stream else 0

    def spans(self, prefix: str) -> dict[str, tuple[int, int]]:
        """Return the span of one stream, which is all that decisions ask for."""
        head = self.head(prefix)
        return {prefix: (self._first(prefix), head)} if head else {}

    def _first(self, name: str) -> int:
        if name in self._firsts:
            return self._firsts[name]
        stream = self._base.streams.get(name)
        return stream.first if stream else 1

    def _entries_changed(self) -> Iterator[Entry]:
        return (entry for entry in self._changed.values() if entry is not None)
