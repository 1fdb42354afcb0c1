"""What an attempt needs before it is spawned: a slot of its session's pool and a permit of the store-wide limit.

Both hang on the worker's lease, so they come back when it dies. Slots are a host's, the limit counts over all
processes and hosts that share the store. A worker that finds the limit reached stands in line once, for the next one.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from coordstore.errors import Busy, CoordError
from coordstore.recipes import Pool, Semaphore

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.recipes import Held, Reservation
    from coordstore.store import CoordStore, Lease

__all__ = ["WORKERS", "Gives", "Limit", "Permits", "Taken"]

log = logging.getLogger(__name__)

WORKERS: Final = "workers"
"""The semaphore that counts running attempts over the whole store."""


@dataclass(frozen=True, slots=True)
class Limit:
    """How many attempts may run at a time on the whole store.

    Args:
        default: As long as nobody set the store's limit.
        override: For this process, whatever the store says; None: the store decides.
    """

    default: int = 8
    override: int | None = None


class Gives(Protocol):
    """What a worker asks before each attempt that it starts."""

    async def open(self, lease: Lease) -> None:
        """Begin, on the worker's lease."""

    async def take(self) -> Taken | None:
        """Return what one more attempt needs, or None: the worker is told when that may have changed."""

    async def give_back(self, taken: Taken) -> None:
        """Take it back."""

    async def rest(self) -> None:
        """Want nothing any more for now."""


class Permits:
    """Hands out slots and permits of one worker.

    Args:
        store: Where they are kept.
        session: Whose pool the slots are in.
        run: Names this worker's slots.
        slots: How many.
        limit: See `Limit`.
        freed: Called when a permit has come that somebody stood in line for.
    """

    def __init__(
        self, store: CoordStore, session: str, run: str, slots: int, limit: Limit, freed: Callable[[], None]
    ) -> None:
        self._store = store
        self._session = session
        self._free = [f"{run}-{number}" for number in range(slots, 0, -1)]
        self._limit = limit
        self._freed = freed
        self._standing: asyncio.Task[Held] | None = None
        self._pool: Pool
        self._workers: Semaphore

    async def open(self, lease: Lease) -> None:
        """Put this worker's slots into the pool."""
        self._pool = Pool(self._store, self._session, lease=lease, cancel_body=False)
        limit, override = self._limit.default, self._limit.override
        self._workers = Semaphore(self._store, WORKERS, limit, override=override, lease=lease, cancel_body=False)
        # Each slot can what only it can: nobody takes one of another host's.
        await asyncio.gather(*(self._pool.register(name, [name]) for name in self._free))

    async def take(self) -> Taken | None:
        """Return a slot and a permit, or None when the limit is reached: `freed` is called when that has changed.

        Raises:
            LeaseLost: The worker's lease has ended.
        """
        permit = await self._permit()
        if permit is None:
            return None
        name = self._free.pop()
        try:
            return Taken(permit, await self._pool.reserve([name], wait=0))
        except BaseException:
            self._free.append(name)
            await permit.release()
            raise

    async def give_back(self, taken: Taken) -> None:
        """Free both; with the store out of reach the lease does it."""
        assert taken.slot is not None and taken.permit is not None  # noqa: S101, PT018  (what `take` returned)
        try:
            with suppress(CoordError):
                await asyncio.gather(taken.slot.release(), taken.permit.release())
        finally:
            self._free.append(taken.slot.agent)

    async def rest(self) -> None:
        """Want no permit any more: stand in line no longer, and give back the one that came."""
        standing, self._standing = self._standing, None
        if standing is None:
            return
        standing.cancel()
        await asyncio.gather(standing, return_exceptions=True)
        if not standing.cancelled() and standing.exception() is None:
            await standing.result().release()

    async def _permit(self) -> Held | None:
        standing = self._standing
        if standing is not None:
            if not standing.done():
                return None
            self._standing = None
            return standing.result()
        try:
            return await self._workers.acquire(wait=0)
        except Busy as busy:
            if self._standing is None:
                log.info("%s: waiting for an agent anywhere on this store to end", busy)
                self._standing = asyncio.ensure_future(self._workers.acquire())
                self._standing.add_done_callback(lambda _: self._freed())
            return None


@dataclass(frozen=True, slots=True)
class Taken:
    """What one attempt holds while it runs; of a host's own slots there is nothing in the store."""

    permit: Held | None = None
    slot: Reservation | None = None
