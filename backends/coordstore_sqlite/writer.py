"""Writes a batch: one function on one thread, from the store's lock to the commit.

    lock ─> is it still our file? ─> BEGIN IMMEDIATE ─> due leases end ─> each request ─> COMMIT ─> checkpoint ─> unlock

What fails before COMMIT is rolled back and was certainly not applied. What fails in COMMIT may be on disk or not:
its callers are told so, and the connection is not used again, for after a failed sync nobody knows what a second
one would say.
"""

from __future__ import annotations

import copy
import logging
import sqlite3
from typing import TYPE_CHECKING, Final

from coordstore.errors import CoordError, OutcomeUnknown, StoreReplaced, Unavailable
from coordstore.hostkit import Outcome, in_turn
from coordstore.model import Committed
from coordstore_sqlite.draft import Draft
from coordstore_sqlite.faults import translate
from coordstore_sqlite.requests import Sweep
from coordstore_sqlite.schema import beside
from coordstore_sqlite.wal import WriteAheadLog

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Sequence
    from pathlib import Path

    from coordstore.hostkit import LeaseFile, StoreLock, Work
    from coordstore.store import Clock
    from coordstore_sqlite.draft import Known
    from coordstore_sqlite.requests import Request

__all__ = ["HISTORY", "Writer"]

HISTORY: Final = 10_000
"""Revisions of history that are kept at least."""
_WAL_BYTES: Final = 8 * 1024 * 1024
"""The write-ahead log's length from which on it is checkpointed."""
_SWEEP_WAIT: Final = 0.25
"""Seconds that a sweep alone waits for the lock: somebody else will do it."""

_log = logging.getLogger("coordstore.sqlite")

Answers = list[Outcome[Committed]]


class Writer:
    """Everything about writing that outlives a connection.

    Args:
        path: The database.
        lock: The store's lock.
        leases: The lease side file.
        clock: What leases are counted on.
        counters: The handle's statistics.
        identity: Device and inode of the file, and the store's id, as they were when it was opened.
    """

    def __init__(
        self,
        path: Path,
        lock: StoreLock,
        leases: LeaseFile,
        clock: Clock,
        counters: Counter[str],
        identity: tuple[int, int, str],
    ) -> None:
        self.path = path
        self.lock = lock
        self.leases = leases
        self.poisoned = False
        self.seen = 0
        self._known: Known | None = None
        self._clock = clock
        self._counters = counters
        self._identity = identity
        self._wal = WriteAheadLog(beside(path, "-wal"))

    def write(self, database: sqlite3.Connection, work: Work[Request, Committed]) -> Answers:
        """Write a batch, and those behind it in one turn, and tell what became of each request of the last; blocks."""
        only_sweeps, held = all(isinstance(request, Sweep) for request in work.requests), False

        def write(requests: Sequence[Request], again: bool) -> Answers:  # noqa: FBT001  (in_turn's)
            nonlocal held
            held = True
            if not again:
                self.check_file()
            return self._write(database, requests)

        try:
            wait = _SWEEP_WAIT if only_sweeps else None
            return in_turn(self.lock, work, write, wait, fit=lambda: not self.poisoned)
        except (CoordError, sqlite3.Error, OSError, UnicodeDecodeError) as error:
            if only_sweeps:
                # Who has the lock ends them as well.
                level = logging.WARNING if held else logging.DEBUG
                _log.log(level, "leases that are due could not be ended yet: %s", error)
            return [Outcome(error=_own(translate(error, self.path), error)) for _ in work.requests]

    def check_file(self) -> None:
        """Refuse to go on when another file lies at the path; blocks, opens nothing.

        Raises:
            StoreReplaced: It was removed or replaced.
        """
        try:
            found = self.path.stat()
        except FileNotFoundError as error:
            message = f"{self.path} was removed under this handle: open the store anew"
            raise StoreReplaced(message) from error
        if (found.st_dev, found.st_ino) != self._identity[:2]:
            message = f"{self.path} was replaced by another file under this handle: open the store anew"
            raise StoreReplaced(message)

    def check_state(self, store_id: str, revision: int, seen: int) -> None:
        """Refuse to go on when the file holds another store or an older state of this one.

        Args:
            store_id: What the file holds.
            revision: Its revision in the cut that was begun.
            seen: What `seen` was before that cut was begun: the other thread may have moved it since.

        Raises:
            StoreReplaced: It does.
        """
        if store_id != self._identity[2]:
            message = f"{self.path} holds another store now ({store_id}): open it anew"
            raise StoreReplaced(message)
        if revision < seen:
            message = f"{self.path} went back from revision {seen} to {revision} (a restored backup?): open it anew"
            raise StoreReplaced(message)

    def _write(self, database: sqlite3.Connection, requests: Sequence[Request]) -> Answers:
        self._counters["batches"] += 1
        self._counters["largest_batch"] = max(self._counters["largest_batch"], len(requests))
        try:
            seen = self.seen
            database.execute("BEGIN IMMEDIATE")
            draft = Draft(database, self._known)
            self.check_state(draft.store_id, draft.revision, seen)
            self._sweep(draft)
            answers = [self._apply(request, draft) for request in requests]
            _bound_history(draft)
            if draft.changed:
                draft.finish()
        except BaseException:
            _roll_back(database)
            raise
        if not draft.changed:
            _roll_back(database)
            self._settle(draft)
            return answers
        return self._commit(database, draft, answers)

    def _commit(self, database: sqlite3.Connection, draft: Draft, answers: Answers) -> Answers:
        try:
            database.execute("COMMIT")
        except sqlite3.Error as error:
            self.poisoned = True
            self._counters["failed_commits"] += 1
            undone = _undone(database, draft.before, error)
            return [self._unsure(answer, error, undone=undone) for answer in answers]
        self.seen = draft.revision
        self._known = draft.known()
        self._counters["commits"] += 1
        self._ring(draft.revision)
        self._settle(draft)
        self._checkpoint(database)
        return answers

    def _apply(self, request: Request, draft: Draft) -> Outcome[Committed]:
        try:
            return Outcome(request.apply(draft, self.leases))
        except CoordError as error:
            self._counters["refused"] += 1
            return Outcome(error=error)

    def _unsure(self, answer: Outcome[Committed], error: sqlite3.Error, *, undone: bool) -> Outcome[Committed]:
        if undone or answer.error is not None:
            return Outcome(error=_own(translate(error, self.path), error))
        message = f"the commit to {self.path} failed ({error}): it may have landed; read again before going on"
        return Outcome(error=_own(OutcomeUnknown(message), error))

    # --- leases and upkeep ------------------------------------------------------------------------------

    def _sweep(self, draft: Draft) -> None:
        if self.leases.next_due() > self._clock.now():
            return
        self._counters["sweeps"] += 1
        for lease in self.leases.mark_due(draft.held()):
            draft.delete_all(draft.keys_on(lease))
        draft.swept = True

    def _settle(self, draft: Draft) -> None:
        if not draft.swept:
            return
        try:
            self.leases.settle()
        except Unavailable as error:
            # What was committed stands; the next batch finds the leases still due and settles them.
            _log.warning("ended leases were not freed yet: %s", error)

    def _ring(self, revision: int) -> None:
        try:
            self.lock.ring(revision)
        except OSError as error:
            # A hint only: who watches finds the commit by polling.
            _log.warning("%s could not be written: %s", self.lock.path, error)

    def _checkpoint(self, database: sqlite3.Connection) -> None:
        """Move the log's content into the database, as far as readers let it; a failure costs nothing but room."""
        try:
            if not self._wal.due(_WAL_BYTES):
                return
            kind = "TRUNCATE" if self._wal.overlong(_WAL_BYTES) else "PASSIVE"
            database.execute("PRAGMA busy_timeout = 0")
            (_, frames, _) = database.execute(f"PRAGMA wal_checkpoint({kind})").fetchone()
            database.execute("PRAGMA busy_timeout = 5000")
            self._counters["checkpoints"] += 1
            self._wal.checkpointed(frames, _WAL_BYTES)
        except (sqlite3.Error, OSError) as error:
            self.poisoned = True
            _log.warning("checkpoint of %s failed: %s", self.path, error)


def _bound_history(draft: Draft) -> None:
    if draft.revision - draft.floor > 2 * HISTORY:
        draft.forget(draft.revision - HISTORY)
    if draft.floor and draft.changed:
        draft.purge()


def _roll_back(database: sqlite3.Connection) -> None:
    if database.in_transaction:
        database.execute("ROLLBACK")


def _undone(database: sqlite3.Connection, revision: int, error: sqlite3.Error) -> bool:
    """Tell whether a commit that failed is certain to be gone.

    It is when a write found the disk full: the frame that makes a commit is the last one written, so that one is
    incomplete, and an incomplete frame fails its checksum for whoever reads the log after a crash.
    """
    try:
        _roll_back(database)
        (now,) = database.execute("SELECT revision FROM meta").fetchone()
    except sqlite3.Error as second:
        _log.warning("after the failed commit (%s): %s", error, second)
        return False
    return bool(error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL and now == revision)


def _own(error: CoordError, cause: BaseException) -> CoordError:
    """Return an error for one caller alone: an exception that many raise at once mixes their tracebacks."""
    own = copy.copy(error)
    own.__cause__ = cause if cause is not error else error.__cause__
    return own
