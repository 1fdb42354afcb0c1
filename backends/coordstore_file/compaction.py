"""Compaction: what was in the log becomes a snapshot and lines in the streams' homes, and the log before it goes.

    1  lock        begin a new segment, so that the one before it is whole and synced; note the state there
    2  no lock     sync the lines of all records up to there into their homes, and the folders that lead to them
    3  no lock     write the snapshot: keys, streams, where their homes end, the floor; sync, rename, sync
    4  lock        name the snapshot in the mark
    5  no lock     remove older snapshots, segments that only hold what lies below the floor, trimmed lines

A crash anywhere leaves either the old snapshot with all of the log behind it, or the new one; what it leaves besides
is taken away by the next compaction. The upkeep lock keeps two of them apart. Readers go on meanwhile: whoever finds
a file gone has an old mark, and looks again.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore_file.frames import decode
from coordstore_file.log import Log
from coordstore_file.mark import Place
from coordstore_file.pace import paced
from coordstore_file.snapshot import Snapshot
from coordstore_file.tree import folders_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from coordstore.engine import Commit
    from coordstore.hostkit import StoreLock
    from coordstore_file.journal import Journal
    from coordstore_file.lines import Positioned
    from coordstore_file.replica import Stream
    from coordstore_file.tree import Tree

__all__ = ["LOG_BYTES", "Compaction"]

LOG_BYTES: Final = 4 * 1024 * 1024
"""Bytes behind the last snapshot from which on the log is compacted."""
_HISTORY: Final = 3
"""Whole segments of history that stay when nobody asked for compaction."""


class _Cut(NamedTuple):
    """The state that becomes a snapshot, and the segment from which on the log holds what is in no home yet."""

    snapshot: Snapshot
    begin: int


class Compaction:
    """Compacts one store; used by one thread, under the upkeep lock.

    Args:
        journal: The store.
        lock: The writers' lock.
        tree: The tree, whose lines become homes.
    """

    def __init__(self, journal: Journal, lock: StoreLock, tree: Tree) -> None:
        self._journal = journal
        self._lock = lock
        self._tree = tree
        self.limit = LOG_BYTES

    def due(self) -> bool:
        """Tell whether the log has grown long, as far as is known here; may be asked at any time."""
        at = self._journal.at
        return at.offset > self.limit or at.segment > max(self._journal.snapshot, 1)

    def still_due(self) -> bool:
        """Tell whether nobody else has compacted since this handle looked at the store."""
        with self._journal.mutex:
            self._journal.refresh()
        return self.due()

    def run(self, keep: int | None) -> int:
        """Compact and return the floor.

        Args:
            keep: Revisions of history to keep; None: some segments' worth.

        Raises:
            OSError: Something could not be written; nothing is lost by that.
        """
        cut = self._begin(keep)
        streams, cleared = self._settle(cut)
        size = self._journal.snapshots.write(cut.snapshot._replace(streams=streams))
        with self._lock.held(), self._journal.mutex:
            self._journal.refresh(locked=True)
            self._journal.settle_tail()
            self._journal.adopt(cut.snapshot.number)
            self._journal.publish()
        self.limit = max(LOG_BYTES, size)
        self._clean(cut, streams, cleared)
        return cut.snapshot.floor

    def _begin(self, keep: int | None) -> _Cut:
        journal = self._journal
        with self._lock.held(), journal.mutex:
            journal.refresh(locked=True)
            journal.settle_tail()
            if journal.at.offset > Log.HEADER:
                journal.rotate()
            replica, number = journal.replica, journal.at.segment
            floor = self._oldest(number) if keep is None else replica.revision - keep
            streams = {name: replace(stream, places=stream.places[:0]) for name, stream in replica.streams.items()}
            entries = {entry.key: entry for entry in replica.keys.list("", None, None, False).entries}
            snapshot = Snapshot(number, replica.revision, max(floor, journal.floor), streams, entries)
            return _Cut(snapshot, max(journal.snapshot, 1))

    def _oldest(self, number: int) -> int:
        numbers = self._journal.log.numbers()
        return self._journal.log.segment(max(number - _HISTORY, numbers[0])).base

    # --- the homes --------------------------------------------------------------------------------------

    def _settle(self, cut: _Cut) -> tuple[dict[str, Stream], set[str]]:
        """Return the streams with their longer homes, and the names of those of which something was removed."""
        streams, cleared, fresh = dict(cut.snapshot.streams), set[str](), set[str]()
        log = self._journal.log.another()
        try:
            for number in range(cut.begin, cut.snapshot.number):
                # One segment's records at a time are in memory.
                for name, records in _homeless(_commits(log, number), streams, cleared).items():
                    home, new = self._tree.settle(name, streams[name], records)
                    streams[name] = replace(streams[name], home=home)
                    fresh |= {name} if new else set()
                log.drop_below(number)
        finally:
            log.close()
        for folder in sorted(folders_of(fresh)) if fresh else ():
            self._journal.fs.fsync_dir(self._journal.layout.root / folder)
        return streams, cleared

    # --- what goes --------------------------------------------------------------------------------------

    def _clean(self, cut: _Cut, streams: Mapping[str, Stream], cleared: set[str]) -> None:
        journal, number = self._journal, cut.snapshot.number
        for old in journal.snapshots.numbers():
            if old < number:
                journal.fs.unlink(journal.snapshots.path(old))
        log = journal.log.another()
        try:
            numbers = [old for old in log.numbers() if old <= number]
            bases = {old: log.segment(old).base for old in numbers}
        finally:
            log.close()
        for old, following in itertools.pairwise(numbers):
            if bases[following] <= cut.snapshot.floor:
                journal.fs.unlink(log.path(old))
        for name in cleared:
            self._tree.clear(name, streams.get(name), cut.snapshot.revision)


def _commits(log: Log, number: int) -> Iterator[Commit]:
    segment, end = log.segment(number), log.segment(number + 1).before.offset
    reached = segment.start
    for frame in log.frames(Place(number, reached), end, segment.check):
        reached = frame.end
        yield decode(frame.content)
    if reached != end:
        raise log.damaged(Place(number, reached))


def _homeless(
    commits: Iterable[Commit], streams: Mapping[str, Stream], cleared: set[str]
) -> Mapping[str, list[Positioned]]:
    """Return the records that are in no home yet, by stream; note the streams that lost some."""
    found: dict[str, list[Positioned]] = {}
    for commit in paced(commits):
        cleared.update(commit.dropped, commit.trimmed)
        for position, record in enumerate(commit.records):
            stream = streams.get(record.stream)
            if stream and commit.revision >= stream.born and record.sequence > stream.home.upto:
                found.setdefault(record.stream, []).append((record, position))
    return found
