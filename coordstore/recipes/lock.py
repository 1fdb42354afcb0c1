"""A lock: one holder at a time, in the order of asking.

Contenders stand in line, each with a key of its own on its lease. Who was created first holds; everybody else
watches the one key right before its own, so a release wakes one of them.

Everybody also writes the key ``last``. Who held the lock, left it, and finds ``last`` as it wrote it itself knows
without looking that nobody stands in line: so a lock that nobody else wants costs two transactions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from coordstore.errors import Busy, Conflict, LeaseLost
from coordstore.model import Check, Put
from coordstore.recipes.base import Holding
from coordstore.recipes.held import Held
from coordstore.recipes.waiting import News, by_age, check_wait

if TYPE_CHECKING:
    from coordstore.store import Lease

__all__ = ["Line", "Lock"]


class Line(Holding):
    """Contenders for one thing, each with a key of its own; the eldest holds."""

    _before: Held | None = None

    async def stand(self, value: bytes, wait: float | None, kind: type[Held] = Held) -> Held:
        """Get in line and return once first in it; see `Lock.acquire`."""
        if check_wait(wait) == 0:
            await self._refuse_if_taken()

        before, self._before = self._before, None
        alone = before is not None and before.gone

        async def get_in_line(lease: Lease) -> tuple[str, int]:
            nonlocal alone
            key, last = self.new_key("line"), f"{self.prefix}/last"
            writes = [Put(key, value, lease), Put(last, key.encode(), lease)]
            if alone and before is not None:
                try:
                    return key, await self.store.transact(writes, [Check(last, revision=before.token)])
                except Conflict:
                    alone = False  # somebody came meanwhile
            return key, await self.store.transact(writes)

        held = await self.begin(get_in_line, kind)
        if alone:
            self._counters["acquired"] += 1
        else:
            await self.queue(held, lambda: self._look(held, wait), wait, f"{self.kind} {self.name}")
        self._before = held
        return held

    async def line(self) -> list[str]:
        """Return who holds it and who waits for it, in this order, as they call themselves."""
        listing = await self.store.list(f"{self.prefix}/line/")
        return [entry.value.decode(errors="replace") for entry in by_age(listing.entries)]

    async def _look(self, held: Held, wait: float | None) -> News | None:
        """Return None when nobody stands before us, else the change to wait for: that who is right before us goes."""
        listing = await self.store.list(f"{self.prefix}/line/", keys_only=True)
        ahead = [entry for entry in by_age(listing.entries) if entry.create_revision <= held.token]
        if not ahead or ahead[-1].key != held.key:
            message = f"the place in line for {self.kind} {self.name} is gone"
            raise LeaseLost(message, lease=held.lease.id)
        if len(ahead) == 1:
            return None
        if wait == 0:
            raise self._busy(len(ahead) - 1)
        # It may give up although others before it hold: then we look again, behind the next one.
        return ahead[-2].key, listing.revision, lambda change: change.entry is None

    async def _refuse_if_taken(self) -> None:
        """Look before getting in line, so that who does not wait writes nothing."""
        listing = await self.store.list(f"{self.prefix}/line/", keys_only=True)
        if listing.entries:
            self._counters["refused"] += 1
            raise self._busy(len(listing.entries))

    def _busy(self, ahead: int) -> Busy:
        return Busy(f"{self.kind} {self.name} is held, {ahead} stand before you")


class Lock(Line):
    """A lock; see `Holding` for its arguments.

    async with await Lock(store, "merge").acquire() as held:
        await store.put("result", b"42", fence=held.fence)
    """

    kind: ClassVar[str] = "lock"

    async def acquire(self, wait: float | None = None) -> Held:
        """Hold the lock.

        Args:
            wait: Seconds to stand in line at most; 0: only when it is free now; None: as long as it takes.

        Returns:
            What is held: use it with ``async with``, or call `Held.release`.

        Raises:
            Busy: It was not free in time. The place in line is given up.
            LeaseLost: The store was out of reach for too long meanwhile.
            CoordError: As `CoordStore.transact`. Cancelled or failed, the place in line is given up.
        """
        return await self.stand(self.owner.encode(), wait)
