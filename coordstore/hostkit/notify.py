"""Tells those who wait that the store has changed: by this process or another, or because a lease is due.

The truth is asked for: a *probe* returns the store's revision, every 2 ms after a change and ever more slowly up
to 50 ms while nothing happens. inotify on a file that every writer writes to with or right after its commit makes that
at once where it works; where it reports nothing, nothing is lost. On a local file system, where it does work, probes
go down to every 250 ms: they only find what a writer that was killed before it told has left. Nobody waits: nothing
runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

__all__ = ["Notifier"]

_FASTEST: Final = 0.002
_SLOWEST: Final = 0.05
_SLOWEST_TOLD: Final = 0.25
"""The same where inotify tells of every commit."""
_SLOWER: Final = 1.5


class Notifier:
    """Wakes the watchers of one handle.

    Args:
        probe: Returns the store's revision now, after ending the leases that are due.
        due: Returns in how many seconds the next lease is due (infinity: none is known); must not block.
        hint: A file that every writer writes to after its commit.
        local: Whether it lies on a file system of this machine, so that inotify reports what other processes write.
    """

    def __init__(
        self, probe: Callable[[], Awaitable[int]], due: Callable[[], float], hint: Path, *, local: bool = False
    ) -> None:
        self._probe = probe
        self._due = due
        self._hint = hint
        self._local = local
        self._slowest = _SLOWEST
        self._waiting: dict[asyncio.Future[None], int] = {}
        self._pump: asyncio.Task[None] | None = None
        self._poke = asyncio.Event()
        self._hints: asyncio.Task[None] | None = None
        self.revision = 0
        self.probes = 0
        self.hints = 0

    def __repr__(self) -> str:
        """Show how many wait and for what revision to pass."""
        return f"<Notifier at {self.revision}, {len(self._waiting)} waiting>"

    async def above(self, revision: int) -> None:
        """Return once the store's revision is above this one.

        Raises:
            CoordError: What the probe raised.
        """
        if self.revision > revision:
            return
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[told] = revision
        if self._pump is None:
            self._pump = asyncio.create_task(self._watch(), name="store-notifier")
        try:
            await told
        finally:
            self._waiting.pop(told, None)
            if not self._waiting:
                self._poke.set()

    def moved(self, revision: int) -> None:
        """Take note of a revision seen; wake who waited for it."""
        self.revision = max(self.revision, revision)
        for told, wanted in self._waiting.items():
            if self.revision > wanted and not told.done():
                told.set_result(None)

    def fail(self, error: BaseException) -> None:
        """Raise an error to everybody who waits."""
        for told in self._waiting:
            if not told.done():
                told.set_exception(error)

    async def aclose(self) -> None:
        """Stop; who still waits must have been failed before."""
        for task in (self._pump, self._hints):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def _watch(self) -> None:
        pause = _FASTEST
        try:
            while self._waiting:
                self._poke.clear()
                before = self.revision
                self.probes += 1
                self.moved(await self._probe())
                pause = _FASTEST if self.revision > before else min(pause * _SLOWER, self._slowest)
                await self._sleep(pause)
        except Exception as error:  # noqa: BLE001  (whatever it is, it is theirs who wait: raised there)
            self.fail(error)
        finally:
            self._pump = None

    async def _sleep(self, pause: float) -> None:
        self._listen()
        seconds = max(min(pause, self._due()), _FASTEST / 2)
        alarm = asyncio.get_running_loop().call_later(seconds, self._poke.set)
        try:
            await self._poke.wait()
        finally:
            alarm.cancel()

    def _listen(self) -> None:
        if self._hints is None and sys.platform == "linux":
            self._hints = asyncio.create_task(self._take_hints(), name="store-inotify")

    async def _take_hints(self) -> None:
        from asyncinotify import Inotify, Mask

        # No hints (a limit of the system, a foreign file system): polling alone is right, only slower.
        with contextlib.suppress(OSError), Inotify() as inotify:
            inotify.add_watch(self._hint, Mask.MODIFY)
            self._slowest = _SLOWEST_TOLD if self._local else _SLOWEST
            async for _ in inotify:
                self.hints += 1
                self._poke.set()
        self._slowest = _SLOWEST
