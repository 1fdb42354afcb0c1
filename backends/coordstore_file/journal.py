"""The store as one process knows it: its log followed up to the mark, recovered, appended to.

    snapshot ─> frames of the log, in order, up to the mark ─> state

Whoever reads goes up to the mark under no lock. Whoever writes holds the store's lock and first looks at what lies
above the mark: frames that are whole were written by somebody who died before he could say so, and are taken over,
synced, and only then shown; the rest is cut off. After a failed sync nothing above the mark is taken over: the log
goes on in a new segment, whose header says where the old one ends.

Methods are called with `mutex` held, those that write with the store's lock as well.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from typing import TYPE_CHECKING, Final

from coordstore.errors import Corrupt, Unavailable
from coordstore_file.frames import FRAME_SIZE, decode
from coordstore_file.log import Log, pack_place
from coordstore_file.mark import Mark, Place, check_follows
from coordstore_file.markfile import MarkFile
from coordstore_file.replica import Replica
from coordstore_file.snapshot import Snapshots

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.engine import Commit
    from coordstore.hostkit import StoreLock
    from coordstore_file._fs import FileSystem
    from coordstore_file.frames import Frame
    from coordstore_file.layout import Layout

__all__ = ["Journal"]

_SEGMENT: Final = 8 * 1024 * 1024
"""Bytes after which a segment is followed by another one, compacted or not."""
_OPEN_WAIT: Final = 0.5
"""Seconds that opening waits for a writer, to see whether it lives."""
_STRETCH: Final = 16
"""Commits taken in, 50 µs, before giving way."""
_RACES: Final = 20
"""Times that a compaction may get in the way of one refresh."""

_log = logging.getLogger("coordstore.file")


class Journal:
    """The log of one store, and the state at its end.

    Args:
        fs: The file system.
        layout: Where the store lies.
        store_id: Its identity, 32 hex digits.
        boot: This boot's id.
    """

    def __init__(self, fs: FileSystem, layout: Layout, store_id: str, boot: bytes) -> None:
        self.fs = fs
        self.layout = layout
        self.mutex = threading.RLock()
        self.log = Log(fs, layout.log, layout.draft, bytes.fromhex(store_id))
        self.snapshots = Snapshots(fs, layout.snapshots, bytes.fromhex(store_id))
        self.replica = Replica()
        self.at = Place(0, 0)
        self.check = 0
        self.mark: Mark
        self.poisoned = False
        self.moved = 0
        self._store_id = bytes.fromhex(store_id)
        self._boot = boot
        self._snapshot = 0
        self._floor = 0
        self._marks = MarkFile(fs, layout.mark, layout.root)
        self._mark_damaged = False

    @property
    def snapshot(self) -> int:
        """The segment before which the newest snapshot known here stands; 0: there is none."""
        return self._snapshot

    @property
    def behind(self) -> int:
        """How many bytes of log lie behind that snapshot, about."""
        return (self.at.segment - max(self._snapshot, 1)) * _SEGMENT + self.at.offset

    @property
    def floor(self) -> int:
        """The compaction floor."""
        return max(self._floor, self.mark.floor)

    # --- opening ----------------------------------------------------------------------------------------

    def open(self, lock: StoreLock) -> None:
        """Load the state.

        The lock is taken only for a log that nobody has looked at since the machine started, or that does not end at
        its mark. So what a killed writer had written has landed, or never will, before anything is read. When a writer
        that is stopped keeps the log from ending there, the store opens all the same: reading is up to the mark.

        Raises:
            Corrupt: Something below the mark is damaged, or missing.
        """
        with self.mutex:
            self._marks.open()
            mark, good = self._marks.read()
            if mark is not None and good and mark.boot == self._boot:
                self._begin(mark)
                if not self.replica.revision:
                    # Whoever made the store may have died before its names were durable.
                    self.fs.fsync_dir(self.layout.internal)
                settled = self._ends_at_mark()
            else:
                settled = None
        if settled is not None:
            if not settled:
                self._settle_opened(lock)
            return
        with lock.held(), self.mutex:
            mark, good = self._marks.read()
            if mark is not None and good and mark.boot == self._boot:
                self._begin(mark)
            else:
                self._look_anew(mark)

    def _settle_opened(self, lock: StoreLock) -> None:
        try:
            with lock.held(_OPEN_WAIT), self.mutex:
                self.refresh(locked=True)
                self.settle_tail()
        except Unavailable as error:
            _log.info("%s: opened beside a writer that is under way (%s)", self.layout.root, error)

    def close(self) -> None:
        """Close all files."""
        with self.mutex:
            self.log.close()
            self._marks.close()

    def _begin(self, mark: Mark) -> None:
        """Load the state up to a mark of this boot."""
        self.mark = mark._replace(revision=0, committed=Place(0, 0), snapshot=-1)
        self._load()
        self.refresh()

    def _look_anew(self, mark: Mark | None) -> None:
        """Load the state after a reboot, or beside a damaged mark: it may be old; the log tells how far it reaches."""
        self._load()
        self.mark = Mark(self._store_id, self._boot, self.at, self.at, self.replica.revision)
        if mark is not None:
            self.mark = self.mark._replace(floor=mark.floor, turn=mark.turn)
            if mark.synced > self.at:
                self._advance(mark.synced)
            # An old mark may tell of a failed sync in a segment long left behind; ours has seen none.
            bad_tail = mark.bad_tail and mark.committed.segment == self.at.segment
            self.mark = self.mark._replace(bad_tail=bad_tail)
        elif self._tail()[1]:
            message = f"{self.layout.mark} and the end of the log are both damaged: restore the store from a backup"
            raise Corrupt(message)
        self.recover()
        if mark is None:
            # The other slot is as damaged.
            self.publish(self.at)

    # --- following --------------------------------------------------------------------------------------

    def refresh(self, *, locked: bool = False, giving_way: bool = False) -> None:
        """Bring the state up to the mark.

        Args:
            locked: The caller holds the store's lock, so a mark that is half damaged can be repaired.
            giving_way: Nobody waits for it: any other thread that has something to do goes first.

        Raises:
            StoreReplaced: Another store lies there, or an older state of this one.
            Corrupt: The log is damaged below the mark.
        """
        for _ in range(_RACES):
            self._marks.check()
            mark, good = self._marks.read()
            if mark is None or not (good or locked):
                message = f"{self.layout.mark} is damaged: write to the store, or open it again, which repairs it"
                raise Corrupt(message)
            if not good:
                self._mark_damaged, mark = True, max(mark, self.mark, key=lambda mark: mark.turn)
            if mark == self.mark:
                return
            check_follows(mark, self.mark, self._store_id, self.layout.root)
            with contextlib.suppress(FileNotFoundError):
                self._follow(mark, giving_way=giving_way)
                self.mark = mark
                return
            self._load()
        raise self.missing()

    def reload(self) -> None:
        """Begin again with the newest snapshot, up to the mark."""
        self._load()
        self.mark = self.mark._replace(snapshot=-1)
        self.refresh()

    def _follow(self, mark: Mark, *, giving_way: bool) -> None:
        self._advance(mark.committed, giving_way=giving_way)
        if mark.snapshot > self._snapshot:
            self.adopt(self.snapshots.numbers()[-1])
        if self.replica.revision != mark.revision:
            raise self.log.damaged(self.at)

    def adopt(self, number: int) -> None:
        """Take note of what a snapshot, by whomever, moved to the streams' homes, and let go of older segments."""
        snapshot = self.snapshots.read(number, whole=False)
        if snapshot.revision > self.replica.revision:
            return
        for name, there in snapshot.streams.items():
            here = self.replica.streams.get(name)
            if here is not None and here.born == there.born:
                here.adopt(there.home)
        self._snapshot, self._floor, self.moved = number, max(self._floor, snapshot.floor), snapshot.revision
        self.log.drop_below(number)

    def _load(self) -> None:
        """Begin again with the newest snapshot."""
        for _ in range(_RACES):
            with contextlib.suppress(FileNotFoundError):
                return self._load_newest()
        raise self.missing()

    def _load_newest(self) -> None:
        """Read the newest snapshot; nothing here changes before all of it is known to be good."""
        replica, numbers, floor = Replica(), self.snapshots.numbers(), 0
        if numbers:
            snapshot = self.snapshots.read(numbers[-1])
            replica.begin(snapshot.revision, snapshot.entries, snapshot.streams)
            floor = snapshot.floor
        self.log.close()
        segment = self.log.segment(numbers[-1] if numbers else 1)
        if segment.base != replica.revision:
            raise self.log.damaged(Place(segment.number, 0))
        self._snapshot, self._floor = segment.number if numbers else 0, max(self._floor, floor)
        self.replica, self.moved = replica, replica.revision
        self.at, self.check = Place(segment.number, segment.start), segment.check

    def missing(self, what: object = "a segment of the log or a snapshot") -> Corrupt:
        """Return the error for a file that should be there."""
        message = f"{self.layout.root}: {what} is missing: restore the store from a backup; nothing was changed"
        return Corrupt(message)

    def _advance(self, bound: Place, *, giving_way: bool = False) -> None:
        while self.at.segment < bound.segment:
            self._step()
        self._take(bound.offset, giving_way=giving_way)

    def _step(self) -> None:
        """Read a segment to its end and go on with the next one."""
        following = self.log.segment(self.at.segment + 1)
        if following.before.segment != self.at.segment:
            raise self.log.damaged(Place(following.number, 0))
        self._take(following.before.offset)
        if following.before_check != self.check:
            raise self.log.damaged(Place(following.number, 0))
        self.at, self.check = Place(following.number, following.start), following.check

    def _take(self, end: int, *, giving_way: bool = False) -> None:
        number, take = self.at.segment, self.replica.take
        segment, base = self.log.segment(number), pack_place(number, 0)
        offset, check, noted = self.at.offset, self.check, 0
        try:
            for at, content, found in self.log.walk(self.at, end, check):
                revision = take(content, base + at)
                if at >= noted:
                    noted = segment.note(revision, at)
                offset, check = at + FRAME_SIZE + len(content), found
                if giving_way and not revision % _STRETCH:
                    os.sched_yield()
        finally:
            self.at, self.check = Place(number, offset), check
        if offset != end:
            raise self.log.damaged(self.at)

    def evolve_all(self, frames: Sequence[Frame], commits: Sequence[Commit]) -> None:
        """Take in the commits of frames that follow the last one."""
        number, evolve, noted, last = self.at.segment, self.replica.evolve, 0, None
        segment, base = self.log.segment(number), pack_place(number, 0)
        try:
            for frame, commit in zip(frames, commits, strict=True):
                offset, content, _ = frame
                if offset >= noted:
                    noted = segment.note(commit.revision, offset)
                evolve(commit, base + offset, content)
                last = frame
        finally:
            if last is not None:
                self.at, self.check = Place(number, last.end), last.check

    # --- writing ----------------------------------------------------------------------------------------

    def settle_tail(self, *, known: bool = False) -> None:
        """Before anything is appended: recover when the log does not end at the mark.

        Args:
            known: It did the last time, and nobody else can have written since.
        """
        if self._mark_damaged or self.poisoned or self.mark.bad_tail or not (known or self._ends_at_mark()):
            self.recover()
        if self.at.offset > _SEGMENT:
            self.rotate()

    def _ends_at_mark(self) -> bool:
        size = self.fs.size(self.log.segment(self.at.segment).handle)
        return size == self.at.offset and not self.log.exists(self.at.segment + 1)

    def recover(self) -> None:
        """Take over what is whole above the mark, cut off the rest, and publish.

        Raises:
            OSError: That could not be made durable; nothing was taken over.
        """
        while self.log.exists(self.at.segment + 1):
            # Whoever made it may have died before its name was durable.
            self.fs.fsync_dir(self.log.folder)
            self._step()
            self.poisoned, self.mark = False, self.mark._replace(bad_tail=False)
        if self.poisoned or self.mark.bad_tail:
            self.rotate()
            return
        handle, (whole, rest) = self.log.segment(self.at.segment).handle, self._tail()
        if rest:
            _log.warning("%s: cut off %d bytes that nobody was told of", self.log.path(self.at.segment), rest)
            self.fs.truncate(handle, whole[-1].end if whole else self.at.offset)
        self._sync(handle)
        commits = [decode(frame.content) for frame in whole]
        end = Place(self.at.segment, whole[-1].end) if whole else self.at
        revision = commits[-1].revision if commits else self.replica.revision
        mark = self.mark._replace(boot=self._boot, committed=end, synced=end, revision=revision)
        mark = self.write_mark(mark._replace(snapshot=self._snapshot, floor=self.floor))
        self.evolve_all(whole, commits)
        self.mark = mark

    def _sync(self, handle: int) -> None:
        try:
            self.fs.fdatasync(handle)
        except OSError:
            self.poison()
            raise

    def poison(self) -> None:
        """After a failed sync: nothing behind the mark counts, for anybody; the next writer begins a new segment."""
        self.poisoned = True
        with contextlib.suppress(OSError):
            self.fs.truncate(self.log.segment(self.at.segment).handle, self.at.offset)
        with contextlib.suppress(OSError):
            self.publish(bad_tail=True)

    def _tail(self) -> tuple[list[Frame], int]:
        """Return the frames above our place that are whole, and how many bytes lie behind them."""
        size = self.fs.size(self.log.segment(self.at.segment).handle)
        found = list(self.log.frames(self.at, size, self.check))
        return found, size - (found[-1].end if found else self.at.offset)

    def rotate(self) -> None:
        """Go on in a new segment; what is in the old one is synced first, unless its sync has failed before.

        Raises:
            OSError: The old one could not be synced, or the new one not be made.
        """
        bad = self.poisoned or self.mark.bad_tail
        if self.mark.synced < self.at and not bad:
            self._sync(self.log.segment(self.at.segment).handle)
        made = self.log.create(self.at.segment + 1, self.replica.revision, self.at, self.check)
        self.at, self.check, self.poisoned = Place(made.number, made.start), made.check, False
        self.publish(self.at)

    def publish(self, synced: Place | None = None, *, bad_tail: bool = False) -> None:
        """Write the mark for the place and the revision that were reached.

        Args:
            synced: Up to where the log survives a power cut, when that has changed.
            bad_tail: A sync failed behind that place.
        """
        known = self.mark.synced if synced is None else synced
        where = (self.at, known, self.replica.revision, self._snapshot, self.floor)
        self.mark = self.write_mark(Mark(self._store_id, self._boot, *where, bad_tail, self.mark.turn))

    def write_mark(self, mark: Mark) -> Mark:
        """Write a mark behind another one and return it as it was written; it is still to be taken in."""
        mark = mark._replace(turn=mark.turn + 1)
        self._marks.write(mark)
        self._mark_damaged = False
        return mark
