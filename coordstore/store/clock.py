"""The clock that leases are counted on: it runs through suspend and nobody sets it; tests pass their own."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from coordstore.store.protocol import CoordStore

__all__ = ["Clock", "SystemClock", "clock_of"]

_CLOCK_ID = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What the library asks of time."""

    def now(self) -> float:
        """Return seconds on a clock that never goes back; its zero means nothing."""

    async def sleep(self, seconds: float) -> None:
        """Return after so many seconds of that clock."""


class SystemClock:
    """The machine's boot-time clock (the monotonic one where there is none)."""

    def now(self) -> float:
        """Return seconds since boot, suspend included."""
        return time.clock_gettime(_CLOCK_ID)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop; after a suspend the caller finds that more time has passed."""
        await asyncio.sleep(seconds)


def clock_of(store: CoordStore) -> Clock:
    """Return the clock that a store counts on, which may be virtual; of one that tells none, the system's."""
    return getattr(store, "clock", None) or SystemClock()
