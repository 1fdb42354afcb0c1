"""Virtual time: a clock that stands still until a test advances it."""

from __future__ import annotations

import asyncio
import heapq
import itertools

__all__ = ["Clock"]

_TURNS = 25
"""Turns of the event loop after each awakening: what was woken runs on until it waits again."""


class Clock:
    """A clock for tests: `now` changes only through `advance`, which wakes sleepers in the order of their time.

    Args:
        start: The first value of `now`, in seconds.
    """

    def __init__(self, start: float = 1000.0) -> None:
        self._now = start
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._number = itertools.count()

    def __repr__(self) -> str:
        """Show the time and how many sleep."""
        return f"<Clock {self._now:.3f} s, {len(self._sleepers)} asleep>"

    def now(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once the clock has been advanced by so much; cancelling leaves nothing behind."""
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if seconds > 0:
            heapq.heappush(self._sleepers, (self._now + seconds, next(self._number), woken))
        else:
            woken.set_result(None)
            await asyncio.sleep(0)
        await woken

    async def advance(self, seconds: float) -> None:
        """Let so much time pass, waking each sleeper at its own moment and letting it run."""
        end = self._now + seconds
        await self._settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            self._now, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                woken.set_result(None)
                await self._settle()
        self._now = end
        await self._settle()

    async def _settle(self) -> None:
        for _ in range(_TURNS):
            await asyncio.sleep(0)
