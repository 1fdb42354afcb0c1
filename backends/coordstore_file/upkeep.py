"""Upkeep, in a thread of its own: the tree follows the store within a moment, and a log that has grown is compacted.

It gives way to a burst of commits, which it would make half as slow: the tree then follows in parts, one part in ten
of the time, and compaction waits until the burst is over or the log has grown eightfold.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Final

from coordstore.errors import CoordError, StoreClosed, Unavailable
from coordstore.hostkit.lockfile import LockedFile
from coordstore_file.compaction import Compaction
from coordstore_file.tree import Tree
from coordstore_file.writer import translate

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from concurrent.futures import ThreadPoolExecutor

    from coordstore.hostkit import StoreLock
    from coordstore_file.journal import Journal

__all__ = ["Upkeep"]

_PAUSE: Final = 0.05
"""Seconds between a commit and its appearance in the tree, at least: many commits are shown at once."""
_SHARE: Final = 10
"""The tree takes one part in so many of the time."""
_RARELY: Final = 1.0
"""Seconds between two looks at most, while somebody else shows what all commit."""
_BUSY: Final = 256 * 1024
"""Bytes of log between two looks from which on upkeep gives way: it shows a part, and compacts later."""
_SLICE: Final = 0.1
"""Seconds that it then shows, about."""
_BEHIND: Final = 8
"""It gives way no more once the log is so many times as long as one that is compacted."""
_SETTLE: Final = 0.3
"""Seconds from the opening until the look over a large tree: whoever only asks something has gone by then."""
_LARGE: Final = 500
"""Keys, from which on a tree is large."""
_LONGEST: Final = 5.0
"""Seconds between two tries when it fails."""
_WAIT: Final = 0.5
"""Seconds to wait for somebody else who is at it; he shows our commits as well."""
_COMPACT_WAIT: Final = 60.0

_log = logging.getLogger("coordstore.file")


class Upkeep:
    """What one handle does for the tree and the log.

    Args:
        journal: The store.
        lock: The writers' lock.
        boot: This boot's id.
        thread: Where it is done.
        counters: The handle's statistics.
    """

    def __init__(
        self, journal: Journal, lock: StoreLock, boot: bytes, thread: ThreadPoolExecutor, counters: Counter[str]
    ) -> None:
        self._journal = journal
        self._tree = Tree(journal, boot)
        self._compaction = Compaction(journal, lock, self._tree)
        self._turn = LockedFile(journal.layout.upkeep, _WAIT)
        self._thread = thread
        self._counters = counters
        self._pause = _PAUSE
        self._seen = 0
        self._alarm: asyncio.TimerHandle | None = None
        self._running: asyncio.Future[None] | None = None
        self._again = False
        self._closing = False

    def settle_empty(self) -> None:
        """Show an empty store: its first burst is then followed, and not shown anew at the end of it; blocks."""
        if self._journal.replica.revision:
            return
        try:
            with self._turn.held(0):
                self._tree.settle_empty()
        except (CoordError, OSError) as error:
            self._tell("was not begun", error)

    def begin(self) -> None:
        """Look the tree over once; a large one in a moment, or what is asked first would wait for that."""
        if len(self._journal.replica.keys.keys("")) < _LARGE:
            self._start(first=True)
        else:
            self._alarm = asyncio.get_running_loop().call_later(_SETTLE, partial(self._start, first=True))

    def soon(self) -> None:
        """Have what was committed shown in a moment."""
        if self._running is not None:
            self._again = True
        elif self._alarm is None and not self._closing:
            self._alarm = asyncio.get_running_loop().call_later(self._pause, self._start)

    async def compact(self, keep: int) -> int:
        """Compact and return the floor.

        Raises:
            Unavailable: It could not be done now; nothing is lost by that.
        """
        if self._closing:
            message = "this store handle was closed: open the store again with open_store()"
            raise StoreClosed(message)
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._compact, keep)

    async def shown(self) -> None:
        """Return when what has been committed so far, by whomever, is shown; failures are logged."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._show)

    async def aclose(self) -> None:
        """Show what was committed, then stop."""
        self._closing = True
        dirty = self._alarm is not None or self._running is not None
        if self._alarm is not None:
            self._alarm.cancel()
        if self._running is not None:
            await asyncio.wait((self._running,))
        if dirty:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._show, True)

    def close(self) -> None:
        """Close the lock's file."""
        self._turn.close()

    def _start(self, *, first: bool = False) -> None:
        self._alarm = None
        work = self._look_over if first else self._show_in_turn
        self._running = asyncio.get_running_loop().run_in_executor(self._thread, work)
        self._running.add_done_callback(self._done)

    def _done(self, _: asyncio.Future[None]) -> None:
        self._running = None
        if self._again:
            self._again = False
            self.soon()

    # --- in the thread ----------------------------------------------------------------------------------

    def _look_over(self) -> None:
        began, enough = time.monotonic(), self._enough()
        try:
            with self._turn.held():
                shown = self._tree.show(lambda: self._closing or enough())
                self._pause = _pause_after(began)
                self._again = self._again or not shown
                self._tree.check(lambda: self._closing)
        except (CoordError, OSError) as error:
            self._tell("was not looked over", error)

    def _show_in_turn(self) -> None:
        """Show, unless somebody is at it or has just been: many processes together show no more often than one."""
        shown = self._journal.fs.find(self._journal.layout.shown)
        since = time.time_ns() - shown.changed if shown else -1
        if 0 <= since < _PAUSE * 1e9:
            self._again = True
            self._pause = min(2 * self._pause, _RARELY)
        else:
            self._show(wait=0)

    def _show(self, last: bool = False, wait: float = _WAIT) -> None:  # noqa: FBT001, FBT002  (called by an executor)
        began, gives_way = time.monotonic(), not (last or wait)
        busy, enough = self._busy() and gives_way, self._enough()
        try:
            with self._turn.held(wait):
                if self._compaction.due() and not last:
                    if busy:
                        self._again = True
                    elif self._compaction.still_due():
                        # First, so that no line is made twice.
                        self._compaction.run(None)
                        self._counters["compactions"] += 1
                shown = self._tree.show(lambda: gives_way and enough())
                self._again = self._again or not shown
        except (CoordError, OSError) as error:
            # What was committed stands; the next one who shows or compacts makes up for it.
            self._counters["upkeep_failed"] += 1
            self._again = True
            self._pause = min(2 * self._pause, _LONGEST)
            self._tell("lags behind", error)
        else:
            self._counters["shown"] += 1
            self._pause = _pause_after(began)

    def _busy(self) -> bool:
        """Tell whether much has been committed since the last look began, and upkeep can wait."""
        behind = self._journal.behind
        return behind - self._seen > _BUSY and behind < _BEHIND * self._compaction.limit

    def _enough(self) -> Callable[[], bool]:
        """Begin a look; return what tells when it has shown a part, and the rest can wait for the end of a burst.

        A burst that begins while it shows counts as well: it would run after that to its end.
        """
        until, busy, self._seen = time.monotonic() + _SLICE, self._busy(), self._journal.behind
        return lambda: time.monotonic() > until and (busy or self._busy())

    def _tell(self, what: str, error: Exception) -> None:
        # Somebody else who is at it is no news: he shows our commits as well.
        level = logging.DEBUG if isinstance(error, Unavailable) else logging.WARNING
        _log.log(level, "the tree of %s %s: %s", self._journal.layout.root, what, error)

    def _compact(self, keep: int) -> int:
        try:
            with self._turn.held(_COMPACT_WAIT):
                floor = self._compaction.run(keep)
                self._counters["compactions"] += 1
                self._tree.show()
                return floor
        except OSError as error:
            raise translate(error, self._journal.layout.root) from error


def _pause_after(began: float) -> float:
    """Return how long to wait after a look that began then, so that looks take their share of the time."""
    return min(max(_PAUSE, _SHARE * (time.monotonic() - began)), _RARELY)
