"""The store as a pure state machine: decide what a request does, then evolve the state by it.

`decide…` reads the state and returns a `Commit`, everything that one revision does, or raises; it changes
nothing. `State.evolve` takes a commit in and cannot fail. Whoever keeps commits durably in that order can
rebuild the state from them: that is what a log-based backend does, while the memory store just evolves.
Time, ids and I/O are somebody else's: leases appear only as ids that keys hang on.

    request ──decide──> Commit(revision r, changes, records, trims, drops) ──evolve──> state at r

Invariants: revisions of commits strictly increase; a stream's head never decreases while it lives; every
change above `floor` is in `history`, which is what a watch reads.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.errors import Conflict, Fenced, LeaseLost, Trimmed
from coordstore.model import Change, Entry, Listing, Put, Record
from coordstore.names import prefix_bounds, under

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from coordstore.model import Check, Delete, Transaction

    Keys = list[str]
    Records = list[Record]
    Batches = list[tuple[int, list[Change]]]

__all__ = ["Commit", "State", "decide", "decide_delete_prefix", "decide_drop", "decide_end_leases", "decide_trim"]

_SHARE: Final = 1 / 8
"""Keys that came or went, as a share of those in order, from which on to sort all is faster than to move each."""
_MOVED_MOST: Final = 4096
"""Keys beyond the number of those there that may wait to be put in order, where nobody asks for it."""


class Commit(NamedTuple):
    """All that happens at one revision.

    Args:
        revision: The revision it takes; equal to the state's when it changes nothing.
        changes: Keys written and deleted, in order.
        records: Records appended, in order.
        trimmed: Per stream, the sequence up to which records go.
        dropped: Streams that go with their heads.
    """

    revision: int
    changes: tuple[Change, ...] = ()
    records: tuple[Record, ...] = ()
    trimmed: Mapping[str, int] = MappingProxyType({})
    dropped: tuple[str, ...] = ()


@dataclass(slots=True)
class _Stream:
    head: int = 0
    records: list[Record] = field(default_factory=list)

    @property
    def first(self) -> int:
        return self.records[0].sequence if self.records else self.head + 1


class State:
    """Keys, streams and change history of one store, in memory."""

    def __init__(self) -> None:
        self.revision = 0
        self.floor = 0
        self.history: list[Commit] = []
        self._entries: dict[str, Entry] = {}
        self._sorted: list[str] = []
        self._moved: dict[str, None] = {}
        self._streams: dict[str, _Stream] = {}
        self._log: list[Record] = []
        self._leased: dict[int, set[str]] = {}

    # --- change -----------------------------------------------------------------------------------------

    def evolve(self, commit: Commit) -> None:
        """Take a commit in; one that changes nothing is ignored."""
        if commit.revision == self.revision:
            return
        self.change(commit.changes, commit.revision)
        for record in commit.records:
            stream = self._streams.setdefault(record.stream, _Stream())
            stream.head = record.sequence
            stream.records.append(record)
        self._log.extend(commit.records)
        for name, upto in commit.trimmed.items():
            self._cut(name, upto)
        for name in commit.dropped:
            self._cut(name, self._streams[name].head)
            del self._streams[name]
        self.history.append(commit)

    def change(self, changes: Iterable[Change], revision: int) -> None:
        """Take in what a commit does to the keys, and nothing of its history."""
        entries, moved = self._entries, self._moved
        for key, entry in changes:
            if entry is not None and entry.lease is None and key not in entries:
                entries[key] = entry  # what nearly all is when a store is opened: no call for each
                moved[key] = None
            else:
                self._set(key, entry)
        if len(moved) > _MOVED_MOST + len(entries):
            self._in_order()
        self.revision = revision

    def compact(self, keep: int) -> int:
        """Forget the history except the last `keep` revisions; return the floor."""
        self.floor = max(self.floor, self.revision - keep)
        del self.history[: self._after(self.floor)]
        return self.floor

    def _set(self, key: str, entry: Entry | None) -> None:
        old = self._entries.get(key)
        if old is not None and old.lease is not None:
            self._leased[old.lease].discard(key)
            if not self._leased[old.lease]:
                del self._leased[old.lease]
        if entry is None:
            del self._entries[key]
            self._moved[key] = None
            return
        if old is None:
            self._moved[key] = None
        self._entries[key] = entry
        if entry.lease is not None:
            self._leased.setdefault(entry.lease, set()).add(key)

    def _cut(self, name: str, upto: int) -> None:
        stream = self._streams[name]
        stream.records = [record for record in stream.records if record.sequence > upto]
        self._log = [record for record in self._log if record.stream != name or record.sequence > upto]

    # --- keys -------------------------------------------------------------------------------------------

    def _in_order(self) -> list[str]:
        """Return the keys, sorted: what came or went is put in order when somebody asks, much of it at once."""
        entries, order = self._entries, self._sorted
        if len(self._moved) > _SHARE * len(order):
            self._sorted = order = [key for key in order if key in entries and key not in self._moved]
            order += [key for key in self._moved if key in entries]
            order.sort()
        else:
            for key in self._moved:
                at = bisect.bisect_left(order, key)
                there = at < len(order) and order[at] == key
                if key in entries and not there:
                    order.insert(at, key)
                elif key not in entries and there:
                    del order[at]
        self._moved.clear()
        return order

    def get(self, key: str) -> Entry | None:
        """Return the entry of a key."""
        return self._entries.get(key)

    def keys(self, prefix: str) -> Keys:
        """Return the keys that a prefix covers, sorted."""
        return self._covered(prefix, None, None)

    def _covered(self, prefix: str, after: str | None, most: int | None) -> Keys:
        exact, low, high = prefix_bounds(prefix)
        order = self._in_order()
        begin, end = bisect.bisect_left(order, low), bisect.bisect_left(order, high)
        if after is not None:
            begin = max(begin, bisect.bisect_right(order, after))
        found = order[begin : end if most is None else min(end, begin + most)]
        return [exact, *found][:most] if exact in self._entries and (after is None or exact > after) else found

    def has_below(self, name: str) -> bool:
        """Tell whether there is a key below a name."""
        _, low, high = prefix_bounds(f"{name}/")
        order = self._in_order()
        at = bisect.bisect_left(order, low)
        return at < len(order) and order[at] < high

    def list(self, prefix: str, limit: int | None, after: str | None, keys_only: bool) -> Listing:
        """Return a cut of a prefix; see `CoordStore.list`."""
        keys = self._covered(prefix, after, None if limit is None else limit + 1)
        more = limit is not None and len(keys) > limit
        entries = [self._entries[key] for key in keys[:limit]]
        if keys_only:
            entries = [Entry(e.key, b"", e.revision, e.create_revision, e.lease) for e in entries]
        return Listing(self.revision, entries, more)

    def leased(self, lease: int) -> tuple[str, ...]:
        """Return the keys that hang on a lease, sorted."""
        return tuple(sorted(self._leased.get(lease, ())))

    def leases(self) -> frozenset[int]:
        """Return the leases that keys hang on."""
        return frozenset(self._leased)

    def changes(self, prefix: str, since: int, limit: int) -> tuple[Batches, int]:
        """Return the changes of a prefix above a revision by transaction, and up to which revision they reach."""
        page = self.history[self._after(since) :][:limit]
        found = [(commit.revision, [c for c in commit.changes if under(prefix, c.key)]) for commit in page]
        return [batch for batch in found if batch[1]], page[-1].revision if len(page) == limit else self.revision

    def _after(self, revision: int) -> int:
        return bisect.bisect_right(self.history, revision, key=lambda commit: commit.revision)

    # --- streams ----------------------------------------------------------------------------------------

    def head(self, name: str) -> int:
        """Return the last sequence of a stream; 0: there is no such stream."""
        return self._streams[name].head if name in self._streams else 0

    def spans(self, prefix: str) -> dict[str, tuple[int, int]]:
        """Return, by stream under a prefix, the first sequence still there and the head."""
        return {n: (s.first, s.head) for n, s in sorted(self._streams.items()) if under(prefix, n)}

    def read(self, name: str, after: int, limit: int | None) -> Records:
        """Return records of a stream; see `CoordStore.read`."""
        stream = self._streams.get(name)
        if stream is None:
            return []
        if after < stream.first - 1:
            raise trimmed(name, stream.first)
        skip = after - stream.first + 1
        return stream.records[skip:][:limit]

    def records(self, prefix: str, since: int, limit: int) -> tuple[Records, int]:
        """Return records of a prefix above a revision in commit order, and up to which revision they reach."""
        start = bisect.bisect_right(self._log, since, key=lambda record: record.revision)
        page = self._log[start : start + limit]
        if len(page) < limit:
            return [record for record in page if under(prefix, record.stream)], self.revision
        last = page[-1].revision
        end = bisect.bisect_right(self._log, last, key=lambda record: record.revision)
        return [record for record in self._log[start:end] if under(prefix, record.stream)], last

    def revision_of(self, name: str, sequence: int) -> int | None:
        """Return the revision of one record that is still there."""
        stream = self._streams.get(name)
        at = sequence - stream.first if stream else -1
        return stream.records[at].revision if stream and 0 <= at < len(stream.records) else None


def trimmed(name: str, first: int) -> Trimmed:
    """Return the error for a place in a stream that was trimmed away."""
    message = f"stream {name!r} was trimmed: it begins at {first} now; read on with after={first - 1}"
    return Trimmed(message, stream=name, first=first)


def decide(state: State, txn: Transaction, live: Collection[int]) -> Commit:
    """Decide a transaction; `live` are the leases that have not ended.

    Raises:
        Fenced: Its fence does not hold.
        Conflict: One of its checks does not hold.
        LeaseLost: It puts a key on a lease that is not live.
    """
    if txn.fence is not None or txn.checks:
        _check(state, txn)
    revision = state.revision + 1
    changes = _changes(state, txn.writes, revision, live) if txn.writes else ()
    heads: dict[str, int] = {}
    records = []
    for append in txn.appends:
        stream = append.stream
        sequence = heads[stream] = (heads[stream] if stream in heads else state.head(stream)) + 1
        records.append(Record(stream, sequence, revision, append.data))
    return _commit(state, Commit(revision, changes, tuple(records)))


def _changes(state: State, writes: Iterable[Put | Delete], revision: int, live: Collection[int]) -> tuple[Change, ...]:
    for write in writes:
        lease = write.lease if isinstance(write, Put) else None
        if isinstance(lease, int) and lease not in live:
            raise lease_lost(lease)
    changes = []
    for write in writes:
        old = state.get(write.key)
        if isinstance(write, Put):
            created = old.create_revision if old else revision
            entry = Entry(write.key, write.value, revision, created, write.lease)  # type: ignore[arg-type]  # an id
            changes.append(Change(write.key, entry))
        elif old is not None:
            changes.append(Change(write.key, None))
    return tuple(changes)


def decide_delete_prefix(state: State, prefix: str) -> Commit:
    """Decide to remove all keys under a prefix."""
    return _commit(state, Commit(state.revision + 1, tuple(Change(key, None) for key in state.keys(prefix))))


def decide_end_leases(state: State, leases: Iterable[int]) -> list[Commit]:
    """Decide to end leases: one commit each, for those that keys hang on."""
    commits: list[Commit] = []
    for lease in leases:
        changes = tuple(Change(key, None) for key in state.leased(lease))
        if changes:
            commits.append(Commit(state.revision + 1 + len(commits), changes))
    return commits


def decide_trim(state: State, name: str, upto: int) -> Commit:
    """Decide to remove records of a stream up to a sequence."""
    span = state.spans(name).get(name)
    if span is None or min(upto, span[1]) < span[0]:
        return Commit(state.revision)
    return Commit(state.revision + 1, trimmed={name: min(upto, span[1])})


def decide_drop(state: State, name: str) -> Commit:
    """Decide to remove a stream."""
    return Commit(state.revision + 1, dropped=(name,)) if state.head(name) else Commit(state.revision)


def lease_lost(lease: int) -> LeaseLost:
    """Return the error for a lease that has ended."""
    return LeaseLost(f"lease {lease} has ended: grant a new one", lease=lease)


def check_failed(failed: Iterable[tuple[Check, int, int]]) -> Conflict:
    """Return the conflict for checks that do not hold, each with the revision and create revision seen."""
    rows = list(failed)
    said = "; ".join(f"{check.key} is {_seen(*seen)}, expected {_expected(check)}" for check, *seen in rows)
    return Conflict(f"not applied: {said}", revisions={check.key: revision for check, revision, _ in rows})


def fenced(fence: Check, current: int) -> Fenced:
    """Return the error for a fence that does not hold."""
    token = fence.create_revision or 0
    now = f"held under token {current}" if current else "held by nobody"
    message = f"not applied: token {token} on {fence.key} is no longer the holder's ({now}): stop this work"
    return Fenced(message, key=fence.key, token=token, current=current)


def _commit(state: State, commit: Commit) -> Commit:
    return commit if commit.changes or commit.records else Commit(state.revision)


def _check(state: State, txn: Transaction) -> None:
    if txn.fence is not None:
        _, seen, created = _look(state, txn.fence)
        if not txn.fence.holds(seen, created):
            raise fenced(txn.fence, created)
    looks = [_look(state, check) for check in txn.checks]
    failed = [look for look in looks if not look[0].holds(look[1], look[2])]
    if failed:
        raise check_failed(failed)


def _look(state: State, check: Check) -> tuple[Check, int, int]:
    entry = state.get(check.key)
    return (check, entry.revision, entry.create_revision) if entry else (check, 0, 0)


def _seen(revision: int, created: int) -> str:
    return f"at revision {revision} (created at {created})" if revision else "absent"


def _expected(check: Check) -> str:
    parts = [("revision", check.revision), ("create revision", check.create_revision)]
    return " and ".join("absent" if value == 0 else f"{name} {value}" for name, value in parts if value is not None)
