"""Mail between the parties of a session: kept until acknowledged, tried again with back-off, dead after that.

A message is the key ``<session>/mail/<owner>/<id>``; who works on it holds ``…/<id>/claim`` on its lease, so it is
there for the next one when its receiver dies. Ids sort in the order of sending. Times are wall time: they decide
when a message is tried again or given up, never who holds it.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, ClassVar

from coordstore.errors import Conflict, InvalidKey
from coordstore.model import Check, Delete, Put
from coordstore.names import is_segment
from coordstore.recipes.base import Recipe
from coordstore.recipes.delivery import Message
from coordstore.recipes.inbox import Inbox
from coordstore.recipes.letter import Depth, Letter, Retries
from coordstore.recipes.waiting import Ids, wall_time

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from coordstore.store import CoordStore, Lease

__all__ = ["Depth", "Letter", "Mailbox", "Message", "Retries"]

TTL = 3600.0
AT_ONCE = 64


class Mailbox(Recipe):
    """The mail of one party: sends to whomever, receives its own.

    Args:
        store: Where the session lives.
        session: Its name.
        me: Who we are: a task, an attempt, ``orchestrator`` …; one segment of a key.
        ttl: Seconds after which a message is dead, unless `send` says otherwise.
        retries: How often and when a message is tried again.
        routes: Other names for owners, as ``{"parent": "t1"}``.
        wall: Tells wall time in seconds.
        chance: Random numbers, for the jitter.
    """

    kind: ClassVar[str] = "mail"

    def __init__(
        self,
        store: CoordStore,
        session: str,
        me: str,
        *,
        ttl: float = TTL,
        retries: Retries | None = None,
        routes: Mapping[str, str] | None = None,
        wall: Callable[[], float] = wall_time,
        chance: random.Random | None = None,
    ) -> None:
        super().__init__(store, session, f"{session}/mail")
        self._routes = dict(routes or {})
        self.me = self.owner(me)
        self.retries = retries or Retries()
        self.wall = wall
        self.chance = chance or random.Random()  # noqa: S311  (jitter)
        self._ttl = ttl
        self._ids = Ids()

    def owner(self, name: str) -> str:
        """Return whose box a name means; refuse what can be none."""
        found = self._routes.get(name, name)
        if not is_segment(found):
            message = f"mail goes to an owner, one segment [a-z0-9][a-z0-9._-]{{0,63}}, not {found!r}"
            raise InvalidKey(message)
        return found

    def new_id(self) -> str:
        """Return an id that is new, and sorts behind all that this object made before."""
        return self._ids.next(self.wall())

    async def send(self, to: str, body: object, *, ttl: float | None = None, message_id: str = "") -> str:
        """Send a message, to whomever; it waits for its owner, who need not be there yet.

        Args:
            to: The owner.
            body: Anything that JSON can say.
            ttl: Seconds after which it is dead.
            message_id: One made by `new_id`, to send the same message again when the outcome was unknown: as long
                as it has not been acknowledged, it is there once.

        Returns:
            Its id. Messages of one sender, each awaited before the next is sent, are delivered in that order.

        Raises:
            OutcomeUnknown: It may have been sent.
        """
        return (await self.send_many(to, [body], ttl=ttl, message_ids=[message_id] if message_id else None))[0]

    async def send_many(
        self, to: str, bodies: Sequence[object], *, ttl: float | None = None, message_ids: Sequence[str] | None = None
    ) -> list[str]:
        """Send messages in this order; 64 at a time are sent together or not at all. See `send`."""
        owner, ids = self.owner(to), list(message_ids or (self.new_id() for _ in bodies))
        for start in range(0, len(bodies), AT_ONCE):
            pairs = zip(ids[start : start + AT_ONCE], bodies[start : start + AT_ONCE], strict=True)
            writes = [self._write(one, owner, body, ttl or self._ttl) for one, body in pairs]
            try:
                await self.store.transact(writes, [Check(write.key, revision=0) for write in writes])
            except Conflict:
                if not message_ids:
                    raise
            self._counters["sent"] += len(writes)
        return ids

    def posting(self, to: str, body: object) -> Put:
        """Return the write that sends a message, for a transaction of the caller's own."""
        return self._write(self.new_id(), self.owner(to), body, self._ttl)

    def _write(self, one: str, owner: str, body: object, ttl: float) -> Put:
        letter = Letter(one, owner, self.me, body, self.wall(), ttl)
        return Put(f"{self.prefix}/{owner}/{one}", letter.to_json())

    def inbox(self, *, visibility: float = 30.0, prefetch: int = 1, ttl: int = 10, lease: Lease | None = None) -> Inbox:
        """Return what receives our mail; use it with ``async with``. See `Inbox` for the arguments."""
        return Inbox(self, visibility=visibility, prefetch=prefetch, ttl=ttl, lease=lease)

    async def depth(self, owner: str = "") -> Depth:
        """Return how much lies in a box, ours by default."""
        name, now = self.owner(owner or self.me), self.wall()
        entries = (await self.store.list(f"{self.prefix}/{name}/")).entries
        claimed = {entry.key.removesuffix("/claim") for entry in entries if entry.key.endswith("/claim")}
        letters = [Letter.from_entry(entry) for entry in entries if not entry.key.endswith("/claim")]
        delayed = sum(letter.due > now for letter in letters)
        oldest = max((now - letter.sent for letter in letters), default=0.0)
        dead = len((await self.store.list(self.dead_prefix(name), keys_only=True)).entries)
        return Depth(len(letters) - len(claimed) - delayed, len(claimed), delayed, dead, oldest)

    async def dead_letters(self, owner: str = "") -> list[Letter]:
        """Return what was given up, each with its reason; ours by default."""
        listing = await self.store.list(self.dead_prefix(self.owner(owner or self.me)))
        return [Letter.from_entry(entry) for entry in listing.entries]

    async def redrive(self, owner: str = "", message_id: str = "") -> int:
        """Send dead messages again, one or all, as if they were new; return how many."""
        name = self.owner(owner or self.me)
        listing = await self.store.list(self.dead_prefix(name))
        wanted = [entry for entry in listing.entries if entry.key.endswith(message_id)]
        for entry in wanted:
            letter = Letter.from_entry(entry).revived(self.wall())
            back = Put(f"{self.prefix}/{name}/{letter.id}", letter.to_json())
            await self.store.transact([back, Delete(entry.key)], [Check(entry.key, revision=entry.revision)])
        return len(wanted)

    def count(self, what: str) -> None:
        """Count something that happened to a message, for `statistics`."""
        self._counters[what] += 1

    def dead_prefix(self, owner: str) -> str:
        """Return where the dead messages of an owner lie."""
        return f"{self.name}/dead/{owner}/"
