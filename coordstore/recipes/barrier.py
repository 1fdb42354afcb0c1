"""Barriers: one that somebody closes and opens for all, and a double one that a number passes together, in and out.

The simple barrier is a key: closed while it is there. The double one has a key per party, on its lease, and a key
``ready`` that names those who went in together: who comes while an earlier round is leaving waits for the next.
"""

from __future__ import annotations

import json
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, ClassVar, Final

from coordstore.errors import Busy, Conflict, InvalidArgument
from coordstore.model import Check, Put
from coordstore.recipes.base import Holding
from coordstore.recipes.held import Held
from coordstore.recipes.waiting import by_age, changed, check_wait, views

if TYPE_CHECKING:
    from coordstore.model import Entry
    from coordstore.store import CoordStore, Lease

__all__ = ["Barrier", "DoubleBarrier"]

PARTIES_MAX: Final = 63
"""As many as a transaction can check, beside the key ``ready``."""


class Barrier(Holding):
    """A barrier that one closes and all others wait at; see `Holding` for its arguments."""

    kind: ClassVar[str] = "barrier"

    async def close(self) -> Held:
        """Close the barrier; it opens with ``release()``, or when who closed it is lost.

        Raises:
            Busy: It is closed already.
        """

        async def shut(lease: Lease) -> tuple[str, int]:
            key = f"{self.prefix}/closed"
            try:
                return key, await self.store.create(key, self.owner.encode(), lease)
            except Conflict as conflict:
                message = f"barrier {self.name} is closed already: open it first, or wait() for it"
                raise Busy(message) from conflict

        return await self.begin(shut, Held)

    async def wait(self) -> None:
        """Return once the barrier is open; cancelled: nothing is left behind."""
        while True:
            listing = await self.store.list(f"{self.prefix}/closed", keys_only=True)
            if not listing.entries:
                return
            await changed(self.store, f"{self.prefix}/closed", listing.revision, lambda change: change.entry is None)


class Party(Held):
    """That we are inside a double barrier; `release` leaves without waiting for the others."""

    async def leave(self) -> None:
        """Leave, and return once all who went in with us have left or are lost."""
        await self.release()
        folder = self.key.rpartition("/parties/")[0]
        async with aclosing(views(self._store, folder + "/")) as rounds:
            async for entries in rounds:
                ready = entries.get(f"{folder}/ready")
                if ready is None or self.key not in json.loads(ready.value) or await _over(self._store, entries, ready):
                    return


class DoubleBarrier(Holding):
    """A barrier at which so many meet before any goes in, and again before any has left.

    Args:
        store: Where it lives.
        name: Its name, one segment of a key.
        parties: How many, up to 63.
        options: As for `Holding`.
    """

    kind: ClassVar[str] = "barrier"

    def __init__(self, store: CoordStore, name: str, parties: int, **options: object) -> None:
        super().__init__(store, name, **options)  # type: ignore[arg-type]  # those of Holding, checked there
        if not 1 <= parties <= PARTIES_MAX:
            message = f"a double barrier has 1 to {PARTIES_MAX} parties, not {parties}"
            raise InvalidArgument(message)
        self.parties = parties

    async def enter(self, wait: float | None = None) -> Party:
        """Come, and return once all are there.

        Raises:
            Busy: Not all came in time; we are not there any more.
            LeaseLost: The store was out of reach for too long meanwhile.
        """

        async def come(lease: Lease) -> tuple[str, int]:
            key = self.new_key("parties")
            return key, await self.store.create(key, self.owner.encode(), lease)

        if check_wait(wait) == 0:
            message = "a barrier is there to wait at: wait is None or more than 0 seconds"
            raise InvalidArgument(message)
        held = await self.begin(come, Party)
        await self.until(held, self._all_there(held), wait, f"barrier {self.name}")
        return held

    async def _all_there(self, held: Held) -> None:
        async with aclosing(views(self.store, f"{self.prefix}/")) as rounds:
            async for entries in rounds:
                ready = entries.get(f"{self.prefix}/ready")
                if ready is None:
                    await self._go_in(entries)
                elif held.key in json.loads(ready.value):
                    return
                else:
                    await _over(self.store, entries, ready)

    async def _go_in(self, entries: dict[str, Entry]) -> None:
        """Say who goes in, when all are there: the eldest, each of them still there at that moment."""
        there = by_age([entry for key, entry in entries.items() if key.startswith(f"{self.prefix}/parties/")])
        if len(there) < self.parties:
            return
        inside = there[: self.parties]
        ready = Put(f"{self.prefix}/ready", json.dumps([entry.key for entry in inside]).encode())
        checks = [Check(entry.key, revision=entry.revision) for entry in inside]
        with suppress(Conflict):  # somebody else said it, or somebody has gone: the next view tells
            await self.store.transact([ready], [*checks, Check(ready.key, revision=0)])


async def _over(store: CoordStore, entries: dict[str, Entry], ready: Entry) -> bool:
    """Tell whether all of a round have left; then end it, so that the next one can begin."""
    if any(key in entries for key in json.loads(ready.value)):
        return False
    with suppress(Conflict):
        await store.delete(ready.key, expect=ready.revision)
    return True
