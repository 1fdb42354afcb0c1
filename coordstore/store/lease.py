"""A lease as its holder sees it: how long it lives for certain, and that it is lost.

The holder's view errs on the safe side: the store ends a lease TTL seconds after it *handled* the last
renewal, the holder takes it for lost TTL seconds after it *sent* the last one that was answered, on the same
kind of clock, whether or not there is a connection. So the holder knows before anyone else can take over.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, Protocol, Self

from coordstore.errors import CoordError, LeaseLost

if TYPE_CHECKING:
    from types import TracebackType

    from coordstore.store.clock import Clock

__all__ = ["Lease", "LeaseDriver"]

RENEWALS_PER_TTL: Final = 3


class LeaseDriver(Protocol):
    """What a lease handle needs of its backend."""

    async def lease_renew(self, lease: int) -> None:
        """Restart the lease's TTL; raise `LeaseLost` when it has ended."""

    async def lease_revoke(self, lease: int) -> None:
        """End the lease and its keys at one revision; nothing when it has ended."""


class Lease:
    """A granted lease.

    ``async with lease`` renews it in the background, three times per TTL, and revokes it at the end; the body
    is told of a loss by `lost` and `wait_lost` (recipes cancel their body). Without ``async with`` it ends
    TTL seconds after the grant unless `renew` is called.

    Attributes:
        id: Its id in the store, never used twice.
        ttl: Seconds it lives after a renewal.
    """

    def __init__(self, lease: int, ttl: int, sent: float, driver: LeaseDriver, clock: Clock) -> None:
        self.id = lease
        self.ttl = ttl
        self._deadline = sent + ttl
        self._driver = driver
        self._clock = clock
        self._lost = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        """Show id, TTL and what is left."""
        state = "lost" if self.lost else f"{self._deadline - self._clock.now():.1f} s left"
        return f"<Lease {self.id} ttl={self.ttl} {state}>"

    @property
    def deadline(self) -> float:
        """When it must be taken for lost: seconds on the store's clock (boot time)."""
        return self._deadline

    @property
    def lost(self) -> bool:
        """Whether it has ended or must be taken to have; once true, true for ever."""
        if not self._lost.is_set() and self._clock.now() >= self._deadline:
            self._lost.set()
        return self._lost.is_set()

    async def wait_lost(self) -> None:
        """Return once the lease is lost (at the latest at its deadline, also with no connection)."""
        while not self.lost:
            alarm = asyncio.ensure_future(self._clock.sleep(self._deadline - self._clock.now()))
            told = asyncio.ensure_future(self._lost.wait())
            try:
                await asyncio.wait((alarm, told), return_when=asyncio.FIRST_COMPLETED)
            finally:
                alarm.cancel()
                told.cancel()

    async def renew(self) -> None:
        """Restart the TTL.

        Raises:
            LeaseLost: It has ended.
            Unavailable: The store did not answer; the old deadline stands.
        """
        sent = self._clock.now()
        try:
            self._ensure_not_lost()
            await self._driver.lease_renew(self.id)
        except LeaseLost:
            self._lost.set()
            raise
        if not self.lost:
            self._deadline = max(self._deadline, sent + self.ttl)

    async def revoke(self) -> None:
        """End it now; its keys vanish at one revision. Of an ended one: nothing."""
        self._stop_keeper()
        try:
            await self._driver.lease_revoke(self.id)
        finally:
            self._lost.set()

    async def __aenter__(self) -> Self:
        """Begin to renew in the background."""
        self._keeper = asyncio.create_task(self._keep(), name=f"lease-{self.id}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop renewing and revoke; when the store is out of reach the TTL does it, and of a lost one it has."""
        try:
            if not self.lost:
                with contextlib.suppress(CoordError):
                    await self.revoke()
        finally:
            self._stop_keeper()

    def _ensure_not_lost(self) -> None:
        if self.lost:
            message = f"lease {self.id} ended: {self.ttl} s passed without an answered renewal"
            raise LeaseLost(message, lease=self.id)

    def _stop_keeper(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None

    async def _keep(self) -> None:
        pause = self.ttl / RENEWALS_PER_TTL
        while not self.lost:
            await self._clock.sleep(min(pause, max(self._deadline - self._clock.now(), 0)))
            try:
                await self.renew()
            except LeaseLost:
                return
            except CoordError:
                pause = self.ttl / RENEWALS_PER_TTL / 4
            else:
                pause = self.ttl / RENEWALS_PER_TTL
