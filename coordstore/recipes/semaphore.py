"""A semaphore: so many holders at a time, in the order of asking, under a limit that may change meanwhile.

Contenders stand in line, each with a key of its own on its lease. Who has fewer than `limit` keys before its own
holds: since ranks only fall, there are never more holders than that, whoever asks at the same moment. The value says
``held`` or ``waiting``, and only steers who watches what: the first that waits watches all, the others the one before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from coordstore.errors import Busy, InvalidArgument, LeaseLost
from coordstore.recipes.base import Holding
from coordstore.recipes.held import Held
from coordstore.recipes.waiting import News, by_age, check_wait

if TYPE_CHECKING:
    from coordstore.model import Change, Entry
    from coordstore.store import CoordStore, Lease

__all__ = ["Semaphore"]

HELD = b"held "
WAITING = b"waiting "


class Semaphore(Holding):
    """A semaphore.

    Args:
        store: Where it lives.
        name: Its name, one segment of a key.
        limit: How many hold it at a time, unless `set_limit` said something else to all.
        override: A limit for who asks through this object, whatever the others go by.
        options: As for `Holding`.
    """

    kind: ClassVar[str] = "semaphore"

    def __init__(
        self, store: CoordStore, name: str, limit: int = 8, *, override: int | None = None, **options: object
    ) -> None:
        super().__init__(store, name, **options)  # type: ignore[arg-type]  # those of Holding, checked there
        self._limit = _checked(limit)
        self._override = None if override is None else _checked(override)

    async def acquire(self, wait: float | None = None) -> Held:
        """Hold one of the permits; see `Lock.acquire`.

        Raises:
            Busy: ``limit 8/8 reached``; or it was not to be had in time.
        """
        limit, entries, _ = await self._look()
        if check_wait(wait) == 0 and len(entries) >= limit:
            self._counters["refused"] += 1
            raise _reached(entries, limit)
        place = _Place(HELD if len(entries) < limit else WAITING)

        async def get_in_line(lease: Lease) -> tuple[str, int]:
            key = self.new_key("line")
            return key, await self.store.create(key, place.mark + self.owner.encode(), lease)

        held = await self.begin(get_in_line, Held)
        await self.queue(held, lambda: self._turn(held, place, wait), wait, f"semaphore {self.name}")
        return held

    async def limit(self) -> int:
        """Return the limit that holds for this object."""
        return (await self._look())[0]

    async def set_limit(self, limit: int) -> None:
        """Change the limit for all; who holds goes on, and new ones come in once there are fewer than that."""
        await self.store.put(f"{self.prefix}/limit", str(_checked(limit)).encode())

    async def holders(self) -> list[str]:
        """Return who holds a permit, in the order of asking, as they call themselves."""
        _, entries, _ = await self._look()
        return [entry.value.removeprefix(HELD).decode() for entry in entries if entry.value.startswith(HELD)]

    async def _look(self) -> tuple[int, list[Entry], int]:
        """Return the limit, who stands in line by age, and the revision of both."""
        listing = await self.store.list(f"{self.prefix}/")
        line = [entry for entry in listing.entries if not entry.key.endswith("/limit")]
        told = [int(entry.value) for entry in listing.entries if entry.key.endswith("/limit")]
        limit = self._override if self._override is not None else told[0] if told else self._limit
        return limit, by_age(line), listing.revision

    async def _turn(self, held: Held, place: _Place, wait: float | None) -> News | None:
        """Return None when fewer than the limit stand before us, else the change to wait for."""
        while True:
            limit, entries, revision = await self._look()
            keys = [entry.key for entry in entries]
            if held.key not in keys:
                message = f"the place in line for semaphore {self.name} is gone"
                raise LeaseLost(message, lease=held.lease.id)
            rank = keys.index(held.key)
            if rank >= limit and wait == 0:
                raise _reached(entries[:rank], limit)
            right = HELD if rank < limit else WAITING
            if right == place.mark:
                break
            place.mark = right  # who stands behind us goes by it, and what happened meanwhile is seen next time
            await self.store.put(held.key, right + self.owner.encode(), lease=held.lease, fence=held.fence)
        if rank < limit:
            return None
        first = rank == 0 or entries[rank - 1].value.startswith(HELD)
        return self.prefix if first else keys[rank - 1], revision, _may_admit


@dataclass(slots=True)
class _Place:
    """What our key in line says."""

    mark: bytes


def _may_admit(change: Change) -> bool:
    """Tell whether a change may let the next one in: somebody left, or is in; or the limit is another."""
    return change.entry is None or change.key.endswith("/limit") or change.entry.value.startswith(HELD)


def _reached(entries: list[Entry], limit: int) -> Busy:
    holders = sum(entry.value.startswith(HELD) for entry in entries)
    return Busy(f"limit {holders}/{limit} reached")


def _checked(limit: object) -> int:
    if isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0:
        return limit
    message = f"the limit of a semaphore is a whole number from 0, not {limit!r}"
    raise InvalidArgument(message)
