"""A message in its receiver's hands: a claim that is acknowledged, given back, or lost when time runs out."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from coordstore.errors import CoordError, Fenced
from coordstore.model import Delete, Put
from coordstore.recipes.held import Held
from coordstore.recipes.waiting import first

if TYPE_CHECKING:
    from types import TracebackType

    from coordstore.recipes.inbox import Inbox
    from coordstore.recipes.letter import Letter
    from coordstore.store import Lease

__all__ = ["Message"]


class Message(Held):
    """A message that is ours to handle.

    ``async with message`` acknowledges it at the end, gives it back when the body raises, and cancels the body when
    the message is lost: its time is up, or the inbox lost its lease. Somebody else may then get it: what the body
    writes is written with ``fence=message.fence``.

    Args:
        inbox: Where it was received.
        letter: What was in the box, before this delivery was counted.
        token: The claim's create revision.
        lease: What the claim hangs on.
    """

    def __init__(self, inbox: Inbox, letter: Letter, token: int, lease: Lease) -> None:
        self._at = f"{inbox.prefix}/{letter.id}"
        super().__init__(inbox.store, f"{self._at}/claim", token, lease)
        self._inbox = inbox
        self._letter = letter
        self._late = asyncio.Event()
        self._timer: asyncio.Task[None] | None = None
        self.id = letter.id
        self.sender = letter.sender
        self.body: Any = letter.body
        self.attempts = letter.attempts + 1

    @property
    def lost(self) -> bool:
        """Whether its time is up, or the inbox's lease has ended."""
        return self._late.is_set() or super().lost

    async def wait_lost(self) -> None:
        """Return once it is lost."""
        await first(_done(self._late), super().wait_lost())

    def extend(self, seconds: float) -> None:
        """Let so many seconds pass from now before it is given back; for who works on it for long."""
        self._stop_timer()
        if not self._released and not self.lost:
            self._timer = asyncio.create_task(self._expire(seconds), name=f"visibility of {self.id}")

    async def ack(self) -> None:
        """It was handled: remove it.

        Raises:
            Fenced: It is not ours any more and will be, or was, delivered again.
            OutcomeUnknown: It may be delivered again.
        """
        await self._finish([Delete(self._at)])
        self._inbox.count("acknowledged")

    async def nack(self, reason: str = "", delay: float | None = None) -> None:
        """It was not handled: give it back, to be tried again later, or to be dead when that was the last time.

        Args:
            reason: Why; it is kept with the message.
            delay: Seconds until it is tried again; None: the back-off of the mailbox.

        Raises:
            Fenced: It is not ours any more.
        """
        mail = self._inbox.mail
        pause = mail.retries.delay(self.attempts, mail.chance.random()) if delay is None else delay
        refused = self._letter.delivered().refused(reason, mail.wall() + pause)
        await self._inbox.put_back(self.sender)  # they come after this one
        await self._finish([Put(self._at, refused.to_json())])
        self._inbox.count("refused")

    async def release(self) -> None:
        """Give it back as if it had never been delivered; of one that is lost or over: nothing."""
        with suppress(Fenced):
            await self._finish([Put(self._at, self._letter.to_json())])

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Acknowledge it, or give it back."""
        try:
            if self.lost or self._released:
                return
            if error is None:
                await self.ack()
            elif isinstance(error, Exception):
                await self.nack(f"{type(error).__name__}: {error}")
        finally:
            await super().__aexit__(kind, error, trace)

    async def _finish(self, writes: list[Put | Delete]) -> None:
        if self.lost:
            message = f"message {self.id} is not ours any more: it will be delivered again"
            raise Fenced(message, key=self.key, token=self.token)
        if not self._released:
            self._end()
            await self._store.transact([Delete(self.key), *writes], fence=self.fence)

    async def _expire(self, seconds: float) -> None:
        """Take it away from who has not acknowledged it in time."""
        await self._inbox.mail.clock.sleep(seconds)
        self._timer = None
        if self._released:
            return
        mail = self._inbox.mail
        pause = mail.retries.delay(self.attempts, mail.chance.random())
        reason = f"not acknowledged within {seconds:g} s"
        refused = self._letter.delivered().refused(reason, mail.wall() + pause)
        self._released = True
        self._late.set()
        self._inbox.forget(self)
        with suppress(CoordError):  # out of reach: it goes back with the lease
            await self._inbox.put_back(self.sender)
            await self._store.transact([Delete(self.key), Put(self._at, refused.to_json())], fence=self.fence)

    def _end(self) -> None:
        self._released = True
        self._stop_timer()
        self._inbox.forget(self)
        if self._guard is not None:
            self._guard.cancel()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


async def _done(event: asyncio.Event) -> None:
    await event.wait()
