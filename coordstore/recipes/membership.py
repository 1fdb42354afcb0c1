"""A membership: who is there, each with something to say, gone with its lease."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, ClassVar

from coordstore.errors import Busy, Conflict, InvalidKey
from coordstore.names import is_segment
from coordstore.recipes.base import Holding
from coordstore.recipes.held import Held
from coordstore.recipes.waiting import views

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from coordstore.store import Lease

__all__ = ["Member", "Membership"]


class Member(Held):
    """That we are a member, until we leave (`release`) or are lost."""

    async def say(self, value: bytes) -> int:
        """Change what the others see of us; return the revision.

        Raises:
            Fenced: We are not a member any more.
        """
        return await self._store.put(self.key, value, lease=self.lease, fence=self.fence)


class Membership(Holding):
    """A group that one joins under a name; see `Holding` for its arguments."""

    kind: ClassVar[str] = "membership"

    async def join(self, member: str, value: bytes = b"") -> Member:
        """Join under a name of one's own.

        Args:
            member: The name, one segment of a key.
            value: What the others see of us.

        Raises:
            Busy: Somebody is there under this name; a dead one is until its lease ends.
            InvalidKey: The name is not in the allowed form.
        """
        if not is_segment(member):
            message = f"member name {member!r} is not allowed: one segment [a-z0-9][a-z0-9._-]{{0,63}}"
            raise InvalidKey(message)

        async def come_in(lease: Lease) -> tuple[str, int]:
            key = f"{self.prefix}/members/{member}"
            try:
                return key, await self.store.create(key, value, lease)
            except Conflict as conflict:
                message = f"{member} is a member of {self.name} already: leave first, or take another name"
                raise Busy(message) from conflict

        joined = await self.begin(come_in, Member)
        self._counters["joined"] += 1
        return joined

    async def members(self) -> dict[str, bytes]:
        """Return who is there now, by name, and what each says."""
        listing = await self.store.list(f"{self.prefix}/members/")
        return {entry.key.rpartition("/")[2]: entry.value for entry in listing.entries}

    async def watch(self) -> AsyncGenerator[dict[str, bytes]]:
        """Yield who is there, and again at each revision at which that, or what one says, has changed."""
        async with aclosing(views(self.store, f"{self.prefix}/members/")) as changes:
            async for entries in changes:
                yield {key.rpartition("/")[2]: entry.value for key, entry in sorted(entries.items())}
