"""Sleep: an attempt that only waits gives up what it holds of its worker's slots, and has it again before it goes on.

So a run with one slot does not come to a stop because its one agent waits for what it delegated. Who wakes comes
before everything that waits in the queues. The worker does the giving and taking; this is where both sides meet.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from coordstore.session import SessionView
    from coordstore_orchestrator.worker.permits import Taken

__all__ = ["Berth", "Naps"]


@dataclass(slots=True)
class Berth:
    """What one running attempt holds of its worker.

    Args:
        taken: Its slot and permit; None: its worker counts slots only, or it has given them up.

    Attributes:
        asleep: Whether it has given up its slot.
        ended: Whether it is over.
        rises: Set once it has one again, if it wants one.
    """

    taken: Taken | None
    asleep: bool = False
    ended: bool = False
    rises: asyncio.Event | None = field(default=None)


class Naps:
    """Where the attempts of one worker sleep.

    Attributes:
        view: The session as the worker sees it; None: it has not seen it yet.
    """

    def __init__(self) -> None:
        self.view: SessionView | None = None
        self._berths: dict[str, Berth] = {}
        self._changed = asyncio.Event()
        self._give_back: Callable[[Taken], Awaitable[None]] | None = None
        self._wake_worker: Callable[[], None] = lambda: None

    def __repr__(self) -> str:
        return f"<Naps: {self.sleepers} of {len(self._berths)} attempts asleep>"

    # --- the worker's side ------------------------------------------------------------------------------

    def serve(self, give_back: Callable[[Taken], Awaitable[None]], wake_worker: Callable[[], None]) -> None:
        """Let a worker give and take: what is given up goes back by the first, and the second wakes it."""
        self._give_back, self._wake_worker = give_back, wake_worker

    def seen(self, view: SessionView) -> None:
        """Take in what the worker sees, and wake those who wait for news."""
        self.view = view
        self._changed.set()
        self._changed = asyncio.Event()

    def enter(self, agent: str, berth: Berth) -> None:
        """Let an attempt sleep here from now on."""
        self._berths[agent] = berth

    def leave(self, agent: str) -> None:
        """Forget an attempt that has ended."""
        self._berths.pop(agent, None)

    @property
    def sleepers(self) -> int:
        """How many attempts have given up their slots."""
        return sum(berth.asleep for berth in self._berths.values())

    @property
    def rising(self) -> list[Berth]:
        """Who wants a slot again, the longest waiting first."""
        return [
            berth for berth in self._berths.values() if berth.asleep and not berth.ended and berth.rises is not None
        ]

    @staticmethod
    def rise(berth: Berth, taken: Taken | None) -> None:
        """Give an attempt a slot again."""
        berth.taken, berth.asleep = taken, False
        if berth.rises is not None:
            berth.rises.set()

    # --- the attempt's side -----------------------------------------------------------------------------

    async def changed(self) -> None:
        """Return once the worker has seen something new."""
        await self._changed.wait()

    @asynccontextmanager
    async def asleep(self, agent: str) -> AsyncIterator[None]:
        """Give up an attempt's slot for as long as the block takes, then wait until it has one again.

        Cancelled, it stays without one: it is about to end.
        """
        berth = self._berths.get(agent)
        if berth is None or berth.asleep:
            yield
            return
        await self._lie_down(berth)
        yield
        berth.rises = asyncio.Event()
        self._wake_worker()
        await berth.rises.wait()
        berth.rises = None

    async def _lie_down(self, berth: Berth) -> None:
        taken, berth.taken = berth.taken, None
        if taken is not None and self._give_back is not None:
            await self._give_back(taken)
        berth.asleep = True
        self._wake_worker()
