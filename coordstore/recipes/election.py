"""An election: one leader at a time who says something to all, and whoever wants to know sees every change.

Candidates stand in line as for a lock; a candidate's value is its key's. Who leads is the eldest key.
"""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from coordstore.recipes.held import Held
from coordstore.recipes.lock import Line
from coordstore.recipes.waiting import by_age, views

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from coordstore.model import Entry

__all__ = ["Election", "Leader", "Leadership"]


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as others see it.

    Args:
        token: The fencing token of this leadership; a later leader's is higher.
        value: What it said last.
    """

    token: int
    value: bytes


class Leadership(Held):
    """That we lead, until we resign (`release`) or lose it."""

    async def proclaim(self, value: bytes) -> int:
        """Say something else to all who observe; return the revision.

        Raises:
            Fenced: We do not lead any more.
        """
        return await self._store.put(self.key, value, lease=self.lease, fence=self.fence)


class Election(Line):
    """An election; see `Holding` for its arguments."""

    kind: ClassVar[str] = "election"

    async def campaign(self, value: bytes = b"", wait: float | None = None) -> Leadership:
        """Stand for election and return once elected.

        Args:
            value: What observers see of us once we lead.
            wait: Seconds to stand at most; 0: only when nobody does; None: as long as it takes.

        Raises:
            Busy: Somebody else led all the time. We do not stand any more.
            LeaseLost: The store was out of reach for too long meanwhile.
        """
        held = await self.stand(value or self.owner.encode(), wait, Leadership)
        assert isinstance(held, Leadership)  # noqa: S101  (what was asked for)
        return held

    async def leader(self) -> Leader | None:
        """Return who leads now, or None."""
        listing = await self.store.list(f"{self.prefix}/line/")
        return _leader({entry.key: entry for entry in listing.entries})

    async def observe(self) -> AsyncGenerator[Leader | None]:
        """Yield who leads, and again whenever that or what it says has changed; None: nobody does.

        Each leader and value that was there at a revision is seen, unless the store forgot its history meanwhile.
        Close it with ``aclose()``.
        """
        seen: Leader | None = Leader(-1, b"")
        async with aclosing(views(self.store, f"{self.prefix}/line/")) as changes:
            async for entries in changes:
                found = _leader(entries)
                if found != seen:
                    seen = found
                    yield found


def _leader(entries: Mapping[str, Entry]) -> Leader | None:
    line = by_age(list(entries.values()))
    return Leader(line[0].create_revision, line[0].value) if line else None
