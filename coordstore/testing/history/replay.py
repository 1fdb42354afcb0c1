"""The run replayed from its final log: what every key and stream was at every revision.

A question about a read becomes a question about *spans*: half-open ranges [start, end) of revisions at which
what it saw was true. A read is right when some revision that lies in all its spans also lies between what had
ended before it began and what began after it ended.
"""

from __future__ import annotations

import sys
from bisect import bisect_left, bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from coordstore.names import prefix_bounds, under
from coordstore.testing.history.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from coordstore.model import Batch, Change, Entry, Record

__all__ = ["END", "OWN", "Commit", "Replay", "Spans", "complement", "earliest", "first_in"]

END: Final = sys.maxsize
"""Behind every revision."""
OWN: Final = "@ops"
"""Prefix of the keys that resolvable transactions write along: nobody asked for them by name."""

Spans: TypeAlias = "list[tuple[int, int]]"


@dataclass(slots=True)
class Commit:
    """All that the log says of one revision.

    Args:
        changes: The keys written (entry) and deleted (None).
        records: The records appended, in order of stream and sequence.
        lease: The lease whose keys, and no others, were deleted; None: this is no lease's end.
    """

    changes: dict[str, Entry | None] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)
    lease: int | None = None

    @property
    def asked(self) -> dict[str, Entry | None]:
        """The changes that somebody asked for: without the keys of resolvable transactions."""
        return {key: entry for key, entry in self.changes.items() if not under(OWN, key)}


@dataclass(slots=True)
class _Versions:
    revisions: list[int] = field(default_factory=list)
    entries: list[Entry | None] = field(default_factory=list)

    def end(self, at: int) -> int:
        return self.revisions[at + 1] if at + 1 < len(self.revisions) else END

    def runs(self) -> Iterable[tuple[int, int, Entry | None]]:
        """Yield (from, until, entry)."""
        return zip(self.revisions, [*self.revisions[1:], END], self.entries, strict=False)


class Replay:
    """What the log and the final reads of the streams say.

    Args:
        log: The batches of the final watches, in the order they came.
        streams: Each stream from its first record.
    """

    def __init__(self, log: Iterable[Batch], streams: Mapping[str, list[Record]]) -> None:
        self.commits: dict[int, Commit] = {}
        self.streams = dict(streams)
        self.violations: list[Violation] = []
        self._versions: dict[str, _Versions] = {}
        self._absent: dict[str, Spans] = {}
        self._leased: dict[int, set[str]] = {}
        self._last = 0
        for batch in log:
            self._take(batch)
        for records in self.streams.values():
            for record in records:
                self.commits.setdefault(record.revision, Commit()).records.append(record)
        self.revisions = sorted(self.commits)
        self._order = sorted(self._versions)
        self._names = sorted(self.streams)

    # --- building ---------------------------------------------------------------------------------------

    def _take(self, batch: Batch) -> None:
        if batch.revision <= self._last and batch.changes:
            self._wrong(f"revision {batch.revision} comes behind {self._last}")
            return
        self._last = batch.revision
        commit = self.commits.setdefault(batch.revision, Commit()) if batch.changes else Commit()
        if batch.changes:
            commit.lease = self._ended(batch.changes)
        for change in batch.changes:
            self._change(batch.revision, change)
            commit.changes[change.key] = change.entry

    def _ended(self, changes: Sequence[Change]) -> int | None:
        """Return the lease all of whose keys, and no others, these changes delete."""
        if any(change.entry for change in changes):
            return None
        hung = self.entry(changes[0].key)
        lease = hung.lease if hung else None
        return lease if lease is not None and self._leased[lease] == {change.key for change in changes} else None

    def _change(self, revision: int, change: Change) -> None:
        old, new = self.entry(change.key), change.entry
        if new is None and old is None:
            self._wrong(f"revision {revision} deletes {change.key}, which was absent")
        if new is not None:
            created = old.create_revision if old else revision
            if (new.revision, new.create_revision) != (revision, created):
                self._wrong(f"revision {revision} shows {new}, created at {created}")
            new = new._replace(revision=revision)
        versions = self._versions.setdefault(change.key, _Versions())
        versions.revisions.append(revision)
        versions.entries.append(new)
        if old and old.lease is not None:
            self._leased[old.lease].discard(change.key)
        if new and new.lease is not None:
            self._leased.setdefault(new.lease, set()).add(change.key)

    def _wrong(self, message: str) -> None:
        self.violations.append(Violation("log", message))

    # --- state ------------------------------------------------------------------------------------------

    def keys(self, prefix: str = "") -> Iterable[str]:
        """Return all keys under a prefix that ever were, sorted."""
        return _covered(self._order, prefix)

    def names(self, prefix: str = "") -> Iterable[str]:
        """Return all streams under a prefix, sorted."""
        return _covered(self._names, prefix)

    def entry(self, key: str, revision: int = END) -> Entry | None:
        """Return a key as it stood at a revision, by default at the last."""
        versions = self._versions.get(key)
        at = bisect_right(versions.revisions, revision) - 1 if versions else -1
        return versions.entries[at] if versions and at >= 0 else None

    def under(self, prefix: str, revision: int) -> list[Entry]:
        """Return the entries under a prefix at a revision, sorted by key."""
        return [entry for key in self.keys(prefix) if (entry := self.entry(key, revision)) is not None]

    def between(self, since: int, until: int) -> list[int]:
        """Return the revisions above one and below another."""
        return self.revisions[bisect_right(self.revisions, since) : bisect_left(self.revisions, until)]

    # --- spans ------------------------------------------------------------------------------------------

    def at(self, key: str, revision: int) -> Spans:
        """Return when a key had a revision; 0: when it was absent."""
        if not revision:
            return self.absent(key)
        versions = self._versions.get(key)
        at = bisect_right(versions.revisions, revision) - 1 if versions else -1
        if not versions or at < 0 or versions.revisions[at] != revision or versions.entries[at] is None:
            return []
        return [(revision, versions.end(at))]

    def absent(self, key: str) -> Spans:
        """Return when a key was absent."""
        if key not in self._absent:
            versions = self._versions.get(key, _Versions())
            before = (0, versions.revisions[0] if versions.revisions else END)
            self._absent[key] = [before, *((start, end) for start, end, entry in versions.runs() if entry is None)]
        return self._absent[key]

    def created(self, key: str, token: int) -> Spans:
        """Return when a key had a create revision; 0: when it was absent."""
        if not token:
            return self.absent(key)
        versions = self._versions.get(key, _Versions())
        return [(start, end) for start, end, entry in versions.runs() if entry and entry.create_revision == token]

    def holding(self, key: str, revision: int | None, created: int | None) -> Spans:
        """Return when a check held."""
        if revision is None:
            return self.created(key, created or 0)
        spans = self.at(key, revision)
        if created is None or not revision:
            return spans if not created else []
        return [span for span in spans if (entry := self.entry(key, span[0])) and entry.create_revision == created]

    def reading(self, stream: str, after: int, limit: int | None, got: list[Record]) -> Spans:
        """Return when a read would have returned these records."""
        records = self.streams.get(stream, [])
        last = max(after, got[-1].sequence if got else 0)
        full = limit is not None and len(got) >= limit
        end = END if full or last >= len(records) else records[last].revision
        return [(got[-1].revision if got else 0, end)]

    def head(self, stream: str, sequence: int) -> Spans:
        """Return when a stream had a head; 0: when it did not exist."""
        records = self.streams.get(stream, [])
        if sequence > len(records):
            return []
        start = records[sequence - 1].revision if sequence else 0
        return [(start, records[sequence].revision if sequence < len(records) else END)]


def _covered(names: list[str], prefix: str) -> Iterable[str]:
    """Return those of sorted names that a prefix covers."""
    exact, low, high = prefix_bounds(prefix)
    found = names[bisect_left(names, low) : bisect_left(names, high)]
    at = bisect_left(names, exact) if exact is not None else len(names)
    return [exact, *found] if at < len(names) and names[at] == exact else found


def complement(spans: Spans) -> Spans:
    """Return the revisions that lie in none of the spans, which are sorted and apart."""
    edges = [0, *(edge for span in spans for edge in span), END]
    return [(start, end) for start, end in zip(edges[::2], edges[1::2], strict=True) if start < end]


def first_in(spans: Spans, at: int) -> int | None:
    """Return the first revision not below `at` that lies in a span."""
    found = bisect_right(spans, at, key=lambda span: span[0]) - 1
    if found >= 0 and at < spans[found][1]:
        return at
    later = next((span for span in spans[found + 1 :] if span[0] < span[1]), None)
    return later[0] if later else None


def earliest(several: list[Spans], at: int) -> int | None:
    """Return the first revision not below `at` that lies in a span of each list."""
    while True:
        start = at
        for spans in several:
            found = first_in(spans, at)
            if found is None:
                return None
            at = found
        if at == start:
            return at
