"""Commits a batch: one function on one thread, from the store's lock to the mark.

    lock ─> up to the mark ─> the tail in order? ─> due leases end ─> each request decides ─> append ─> sync ─> mark

What fails before the append was certainly not applied. A write that fails is cut off again, so it was not applied
either. What fails in the sync, or after it, may be on disk or not: its callers are told so, nothing above the mark
is ever taken over, and the log goes on in a new segment, for after a failed sync nobody knows what a second one
would say.
"""

from __future__ import annotations

import bisect
import contextlib
import copy
import logging
import operator
from typing import TYPE_CHECKING, Final

from coordstore import engine
from coordstore.errors import CoordError, OutcomeUnknown, Unavailable
from coordstore.hostkit import Outcome, in_turn
from coordstore.model import Committed
from coordstore_file.draft import Draft
from coordstore_file.frames import FRAME_SIZE, Frame, encode, framed
from coordstore_file.mark import Place
from coordstore_file.requests import Sweep

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence

    from coordstore.hostkit import LeaseFile, StoreLock, Work
    from coordstore.store import Clock
    from coordstore_file.journal import Journal
    from coordstore_file.mark import Mark
    from coordstore_file.requests import Request

__all__ = ["Writer", "translate"]

_SWEEP_WAIT: Final = 0.25
"""Seconds that a sweep alone waits for the lock: somebody else will do it."""

_log = logging.getLogger("coordstore.file")
_offset: Final = operator.attrgetter("offset")

Answers = list[Outcome[Committed]]


def translate(error: Exception, where: object) -> CoordError:
    """Return the error to raise when nothing has been applied."""
    if isinstance(error, CoordError):
        return error
    reason = getattr(error, "strerror", None) or error
    return Unavailable(f"{where} could not be used ({reason}): not applied")


class Writer:
    """Everything about committing.

    Args:
        journal: The log and the state.
        lock: The store's lock.
        leases: The lease side file.
        clock: What leases are counted on.
        counters: The handle's statistics.
        durable: Sync each batch.
    """

    def __init__(
        self,
        journal: Journal,
        lock: StoreLock,
        leases: LeaseFile,
        clock: Clock,
        counters: Counter[str],
        *,
        durable: bool,
    ) -> None:
        self.journal = journal
        self.lock = lock
        self.leases = leases
        self.seen = 0
        # Files of its own: the reader's thread may close the journal's, and move its place, while a batch is written.
        self._log = journal.log.another()
        self._clock = clock
        self._counters = counters
        self._durable = durable

    def write(self, work: Work[Request, Committed]) -> Answers:
        """Commit a batch, and those behind it in one turn, and tell what became of each request of the last; blocks."""
        only_sweeps, held = all(isinstance(request, Sweep) for request in work.requests), False

        def write(requests: Sequence[Request], again: bool) -> Answers:  # noqa: FBT001  (in_turn's)
            nonlocal held
            held = True
            return self._write(requests, again=again)

        try:
            wait = _SWEEP_WAIT if only_sweeps else None
            # After a failed sync or mark nobody here knows what others see of it: the next turn reads the mark first.
            return in_turn(self.lock, work, write, wait, self._follow, fit=lambda: not self.journal.poisoned)
        except (CoordError, OSError) as error:
            if only_sweeps:
                # Who has the lock ends them as well.
                level = logging.WARNING if held else logging.DEBUG
                _log.log(level, "leases that are due could not be ended yet: %s", error)
            return [Outcome(error=_own(translate(error, self.journal.layout.root), error)) for _ in work.requests]

    def close(self) -> None:
        """Close its files."""
        self._log.close()

    def _follow(self) -> None:
        """Take in what others committed, while waiting: so much less is to be read under the lock.

        Without giving way, who had begun would go on until his slice of time is over, and the sync of the one who
        writes, which has ended, would not be seen for so long.
        """
        with contextlib.suppress(CoordError, OSError), self.journal.mutex:
            self.journal.refresh(giving_way=True)

    def _write(self, requests: Sequence[Request], *, again: bool) -> Answers:
        self._counters["batches"] += 1
        self._counters["largest_batch"] = max(self._counters["largest_batch"], len(requests))
        with self.journal.mutex:
            if not again:
                self.journal.refresh(locked=True)
            self.journal.settle_tail(known=again)
            draft = Draft(self.journal.replica)
            self._sweep(draft)
            answers = [self._apply(request, draft) for request in requests]
            at, check, mark = self.journal.at, self.journal.check, self.journal.mark
        if draft.commits:
            failed = self._append(draft, at, check, mark)
            if failed is not None:
                return [answer if answer.error else Outcome(error=_own(failed, failed)) for answer in answers]
        self.seen = draft.revision
        self._settle(draft)
        return answers

    def _apply(self, request: Request, draft: Draft) -> Outcome[Committed]:
        try:
            return Outcome(request.apply(draft, self.leases))
        except CoordError as error:
            self._counters["refused"] += 1
            return Outcome(error=error)

    # --- the log ----------------------------------------------------------------------------------------

    def _append(self, draft: Draft, at: Place, check: int, mark: Mark) -> CoordError | None:
        """Append a batch's frames; return the error for its callers when that failed."""
        journal = self.journal
        data, made = _frames(draft, at.offset, check)
        try:
            handle = self._segment(at.segment)
            journal.fs.write_all(handle, data, at.offset)
        except OSError as error:
            return self._cut(at, error)
        end = Place(at.segment, made[-1].end)
        try:
            if self._durable:
                journal.fs.fdatasync(handle)
            mark = mark._replace(committed=end, revision=draft.revision, synced=end if self._durable else mark.synced)
            mark = journal.write_mark(mark)
        except OSError as error:
            return self._poison(error)
        self._counters["commits"] += 1
        with journal.mutex:
            # A reader of this process may have seen the mark and been faster.
            seen = bisect.bisect_left(made, journal.at.offset, key=_offset)
            journal.evolve_all(made[seen:], draft.commits[seen:])
            journal.mark = mark
        return None

    def _segment(self, number: int) -> int:
        self._log.drop_below(number)
        return self._log.segment(number).handle

    def _cut(self, at: Place, error: OSError) -> CoordError:
        """After a failed write: what was written of it goes; only when that fails too the outcome is unknown."""
        self._counters["failed_writes"] += 1
        try:
            self.journal.fs.truncate(self._segment(at.segment), at.offset)
        except OSError:
            return self._poison(error)
        message = f"the log of {self.journal.layout.root} could not be written ({error.strerror}): not applied"
        return _caused(Unavailable(f"{message}; make room and try again"), error)

    def _poison(self, error: OSError) -> CoordError:
        self._counters["failed_commits"] += 1
        with self.journal.mutex:
            self.journal.poison()
        message = f"the log of {self.journal.layout.root} could not be made durable ({error.strerror})"
        return _caused(OutcomeUnknown(f"{message}: it may have landed; read again before going on"), error)

    # --- leases -----------------------------------------------------------------------------------------

    def _sweep(self, draft: Draft) -> None:
        if self.leases.next_due() > self._clock.now():
            return
        self._counters["sweeps"] += 1
        for lease in self.leases.mark_due(draft.leases()):
            for commit in engine.decide_end_leases(draft, (lease,)):
                draft.evolve(commit)
        draft.swept = True

    def _settle(self, draft: Draft) -> None:
        if not draft.swept:
            return
        try:
            self.leases.settle()
        except Unavailable as error:
            # What was committed stands; the next batch finds the leases still due and settles them.
            _log.warning("ended leases were not freed yet: %s", error)


def _frames(draft: Draft, offset: int, check: int) -> tuple[bytes, list[Frame]]:
    """Return a batch's frames as bytes, and one by one."""
    parts, made = [], []
    for commit in draft.commits:
        content = encode(commit)
        raw, check = framed(content, check)
        parts.append(raw)
        made.append(Frame(offset, content, check))
        offset += FRAME_SIZE + len(content)
    return b"".join(parts), made


def _caused(error: CoordError, cause: BaseException) -> CoordError:
    error.__cause__ = cause
    return error


def _own(error: CoordError, cause: BaseException) -> CoordError:
    """Return an error for one caller alone: an exception that many raise at once mixes their tracebacks."""
    own = copy.copy(error)
    own.__cause__ = cause if cause is not error else error.__cause__
    return own
