"""Receiving mail: claims in order, gives back what is not acknowledged in time, keeps each sender's order.

While a message of a sender is being worked on or waits to be tried again, the later ones of that sender wait behind
it. So the order holds across failures, and a message that nobody can handle holds up its sender's others until it
is dead.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Self

from coordstore.errors import Conflict, CoordError, InvalidArgument, LeaseLost
from coordstore.model import Check, Put
from coordstore.recipes.delivery import Message
from coordstore.recipes.looking import Read, look
from coordstore.recipes.waiting import changed, check_wait, first, to_the_end

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

    from coordstore.model import Entry
    from coordstore.recipes.letter import Letter
    from coordstore.recipes.mailbox import Mailbox
    from coordstore.store import Lease

__all__ = ["Inbox", "Message"]

PREFETCH_MAX: Final = 32


class Inbox:
    """Receives the mail of one party; several receivers share the work. ``async with`` it.

    Args:
        mail: Whose.
        visibility: Seconds to acknowledge a message in, before it is given back.
        prefetch: Messages claimed at once, up to 32. A receiver that dies costs each of them one delivery.
        ttl: Seconds after which what a dead receiver had is delivered again.
        lease: A lease of the caller's own for the claims, or None.
    """

    def __init__(self, mail: Mailbox, *, visibility: float, prefetch: int, ttl: int, lease: Lease | None) -> None:
        if not 1 <= prefetch <= PREFETCH_MAX:
            message = f"prefetch is from 1 to {PREFETCH_MAX}, not {prefetch}"
            raise InvalidArgument(message)
        self.mail = mail
        self.store = mail.store
        self.prefix = f"{mail.prefix}/{mail.me}"
        self._visibility, self._prefetch, self._ttl = visibility, prefetch, ttl
        self._given, self._lease = lease, lease
        self._fetched: deque[Message] = deque()
        self._out: dict[str, Message] = {}
        self._read: Read = {}

    def __repr__(self) -> str:
        """Show whose it is, and how many messages are out and at hand."""
        return f"<Inbox {self.prefix} out={len(self._out)} fetched={len(self._fetched)}>"

    @property
    def lost(self) -> bool:
        """Whether its lease has ended, and with it every claim."""
        return self._lease is None or self._lease.lost

    async def __aenter__(self) -> Self:
        """Begin to receive."""
        if self._lease is None:
            self._lease = await (await self.store.grant(self._ttl)).__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give back what was not acknowledged; killed or cut off, it goes back with the lease."""
        try:
            with suppress(CoordError):
                await _release([*self._out.values(), *self._fetched])
        finally:
            if self._given is None and self._lease is not None:
                await self._lease.__aexit__(None, None, None)

    async def receive(self, wait: float | None = None) -> Message | None:
        """Return the next message, or None when none came in time; cancelled: none is lost.

        Args:
            wait: Seconds to wait at most; 0: not at all; None: as long as it takes.

        Raises:
            LeaseLost: The store was out of reach for too long; what was received is delivered again.
        """
        check_wait(wait)
        end = math.inf if wait is None else self.mail.clock.now() + wait
        while not self._fetched:
            lease = self._live()
            found = await look(self.mail, self.prefix, self._prefetch, self._read)
            self._read = found.read
            if found.picked:
                with suppress(Conflict):  # another receiver was faster: look again
                    await self._claim(found.picked, lease)
                continue
            pause = min(found.due, end - self.mail.clock.now())
            if wait == 0 or end <= self.mail.clock.now():
                return None
            news = changed(self.store, self.prefix + "/", found.revision, lambda _: True)
            await first(news, lease.wait_lost(), *([] if pause == math.inf else [self.mail.clock.sleep(pause)]))
        message = self._fetched.popleft()
        self._out[message.id] = message
        message.extend(self._visibility)
        self.count("received")
        return message

    async def __aiter__(self) -> AsyncGenerator[Message]:
        """Yield messages as they come."""
        while True:
            message = await self.receive()
            if message is not None:
                yield message

    async def put_back(self, sender: str) -> None:
        """Give back what is at hand of a sender, as if never fetched: something before it has to come first."""
        back = [message for message in self._fetched if message.sender == sender]
        self._fetched = deque(message for message in self._fetched if message.sender != sender)
        if back:
            await to_the_end(_release(back), lambda _: None)

    def forget(self, message: Message) -> None:
        """Strike a message that is over off the list."""
        self._out.pop(message.id, None)

    def count(self, what: str) -> None:
        """Count something in the mailbox's statistics."""
        self.mail.count(what)

    def _live(self) -> Lease:
        if self._lease is None or self._lease.lost:
            message = f"the inbox of {self.mail.me} lost its lease: what it had is delivered again; open another"
            raise LeaseLost(message, lease=self._lease.id if self._lease else 0)
        return self._lease

    async def _claim(self, picked: list[tuple[Entry, Letter]], lease: Lease) -> None:
        """Take messages in one transaction: each as it was seen, and claimed by nobody."""
        writes = [Put(entry.key, letter.delivered().to_json()) for entry, letter in picked]
        writes += [Put(f"{entry.key}/claim", self.mail.me.encode(), lease) for entry, _ in picked]
        checks = [Check(entry.key, revision=entry.revision) for entry, _ in picked]
        checks += [Check(f"{entry.key}/claim", revision=0) for entry, _ in picked]

        def took(token: int) -> None:
            self._fetched.extend(Message(self, letter, token, lease) for _, letter in picked)

        await to_the_end(self.store.transact(writes, checks), took)


async def _release(messages: list[Message]) -> None:
    """Give messages back at once, as stores commit together what is asked for together; all are tried."""
    for failed in await asyncio.gather(*(message.release() for message in messages), return_exceptions=True):
        if failed is not None:
            raise failed
