"""What every holder has in its hand: one key on one lease, the fence that it makes, and a body that ends with it.

Theory. To hold is to own a key: its create revision is the fencing token, higher than that of every former holder.
The key hangs on a lease, so it goes when its holder dies. The holder knows of the loss before the store can give
the place to anybody else, and its body is cancelled at the next turn of the loop; what it wrote with ``fence=``
until then was right, and what it writes later is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Self

from coordstore.errors import CoordError, Fenced, LeaseLost
from coordstore.model import Check, Delete

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from coordstore.model import Put
    from coordstore.store import CoordStore, Lease

__all__ = ["Held"]


class Held:
    """A key that is held, until it is released or lost.

    ``async with held`` cancels the body when the lease is lost, which then ends with `LeaseLost` (also when it had
    come to its end meanwhile), and releases at the end.

    Attributes:
        gone: Whether it is known that the key is gone.
        plain: Whether nothing but its end is written when it is released.

    Args:
        store: Where.
        key: What is held.
        token: Its create revision.
        lease: What it hangs on.
        own: Whether the lease was granted for this alone, and ends with it.
        cancel_body: False: the body is not cancelled, it asks `lost` or waits for `wait_lost` itself.
    """

    plain = True

    def __init__(
        self, store: CoordStore, key: str, token: int, lease: Lease, *, own: bool = False, cancel_body: bool = True
    ) -> None:
        self.key = key
        self.token = token
        self.lease = lease
        self._store = store
        self._own = own
        self._cancel_body = cancel_body
        self._released = False
        self.gone = False
        self._guard: asyncio.Task[None] | None = None
        self._struck = False
        self._requests = 0

    def __repr__(self) -> str:
        """Show the key, the token and how it stands."""
        state = "released" if self._released else "lost" if self.lost else "held"
        return f"<{type(self).__name__} {self.key} token={self.token} {state}>"

    @property
    def fence(self) -> Check:
        """Return the fencing condition, for ``fence=`` of the caller's own transactions, puts and appends."""
        return Check(self.key, create_revision=self.token)

    @property
    def lost(self) -> bool:
        """Whether it must be taken for lost: its lease has ended."""
        return self.lease.lost

    async def wait_lost(self) -> None:
        """Return once it is lost."""
        await self.lease.wait_lost()

    async def release(self) -> None:
        """Give it up; of one that is lost or released: nothing.

        Cancelled, or with the store out of reach: it goes with its lease, at the latest after the TTL.

        Raises:
            Unavailable, OutcomeUnknown: On a lease of the caller's own; on one granted for it, its TTL does it.
        """
        if self._released:
            return
        self._released = True
        if self._guard is not None:
            self._guard.cancel()
        try:
            if not (self._own and self.plain) and not self.lease.lost:
                await self._leave()
                self.gone = True
        finally:
            if self._own:
                await self.lease.__aexit__(None, None, None)

    async def _leave(self) -> None:
        """Remove the key, and write what is to be written with that."""
        with contextlib.suppress(*((CoordError,) if self._own else (Fenced,))):
            writes: list[Put | Delete] = [Delete(self.key), *self.last_words()]
            try:
                self.left(writes, await self._store.transact(writes, fence=self.fence))
            except LeaseLost:  # what the words hang on is gone: nobody will read them
                await self._store.delete(self.key, fence=self.fence)

    def last_words(self) -> list[Put]:
        """Return what is written in the transaction that releases."""
        return []

    def left(self, writes: Iterable[Put | Delete], revision: int) -> None:
        """Take note of the transaction that released."""

    async def __aenter__(self) -> Self:
        """Begin to guard the body."""
        body = asyncio.current_task()
        if self._cancel_body and body is not None:
            self._requests = body.cancelling()
            self._guard = asyncio.create_task(self._watch_over(body), name=f"guard of {self.key}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Release, and say so when it was lost before that."""
        if self._guard is not None:
            self._guard.cancel()
        lost = self._struck or (self._cancel_body and self.lost and not self._released)
        cancelled = await self._withdraw(error)
        await self.release()
        if lost and not cancelled and (kind is None or kind is asyncio.CancelledError):
            message = f"{self.key} was lost: it may be another's by now, and what this body does later is not to count"
            raise LeaseLost(message, lease=self.lease.id) from error

    async def _watch_over(self, body: asyncio.Task[object]) -> None:
        await self.wait_lost()
        self._struck = True
        body.cancel()

    async def _withdraw(self, error: BaseException | None) -> bool:
        """Take our own cancellation back; return whether somebody else cancelled the body too."""
        body = asyncio.current_task()
        if body is None or not self._struck:
            return isinstance(error, asyncio.CancelledError)
        if not isinstance(error, asyncio.CancelledError):
            with contextlib.suppress(asyncio.CancelledError):  # it was asked for and has not come in yet
                await asyncio.sleep(0)
        if body.uncancel() <= self._requests:
            return False
        if not isinstance(error, asyncio.CancelledError):
            raise asyncio.CancelledError
        return True
