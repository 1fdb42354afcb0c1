"""A counter: a number that many change and nobody's change is lost.

Each change writes the key under the condition that it is as it was read; who was overtaken reads again.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

from coordstore.errors import Conflict, Corrupt, OutcomeUnknown
from coordstore.model import Check, Put
from coordstore.recipes.base import Recipe

if TYPE_CHECKING:
    from coordstore.model import Entry
    from coordstore.store import CoordStore, Fence

__all__ = ["Counter"]


class Counter(Recipe):
    """A whole number, 0 at first, of any size.

    Args:
        store: Where it lives.
        name: Its name, one segment of a key.
    """

    kind: ClassVar[str] = "counter"

    def __init__(self, store: CoordStore, name: str) -> None:
        super().__init__(store, name)
        self.key = self.prefix
        self._turn = asyncio.Lock()  # tasks of one process need not overtake each other

    async def get(self) -> int:
        """Return the number."""
        return _number(await self.store.get(self.key))

    async def add(self, amount: int = 1, *, fence: Fence | None = None, resolvable: bool = False) -> int:
        """Add to the number and return what it is then; each change returns another sum.

        Args:
            amount: What to add; negative: to take away.
            fence: Only as long as this holds, as in `CoordStore.transact`.
            resolvable: When the outcome of the write is unknown, find it out, and go on. Costs one more write.

        Raises:
            Fenced: The fence did not hold; the number is as it was.
            OutcomeUnknown: It may have been added. With `resolvable`, only if that cannot be found out either.
        """
        async with self._turn:
            while True:
                entry = await self.store.get(self.key)
                number = _number(entry) + amount
                if await self._write(entry, number, fence, resolvable=resolvable):
                    self._counters["added"] += 1
                    return number
                self._counters["overtaken"] += 1

    async def set(self, number: int, *, fence: Fence | None = None) -> None:
        """Set the number, whatever it is."""
        await self.store.put(self.key, str(int(number)).encode(), fence=fence)

    async def _write(self, entry: Entry | None, number: int, fence: Fence | None, *, resolvable: bool) -> bool:
        """Write the number unless somebody else wrote since; tell whether we did."""
        writes = [Put(self.key, str(number).encode())]
        checks = [Check(self.key, revision=entry.revision if entry else 0)]
        try:
            await self.store.transact(writes, checks, fence=fence, resolvable=resolvable)
        except Conflict:
            return False
        except OutcomeUnknown as error:
            if error.op is None:
                raise
            return bool(await self.store.resolve(error.op))
        return True


def _number(entry: Entry | None) -> int:
    try:
        return int(entry.value) if entry else 0
    except ValueError as error:
        message = f"{entry.key if entry else ''} holds no number: somebody else wrote it; set() makes it one again"
        raise Corrupt(message) from error
