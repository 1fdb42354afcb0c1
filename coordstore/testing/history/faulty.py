"""FaultyStore: a sound MemoryStore with honest faults, for histories that hold every outcome.

It takes its time before and after each operation, refuses some writes as `Unavailable`, and leaves some with an
unknown outcome: never applied, applied, or applied later. All that is allowed, so the checker must not object.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from coordstore.errors import CoordError, OutcomeUnknown, Unavailable
from coordstore.testing.clock import Clock
from coordstore.testing.history.observing import run
from coordstore.testing.history.record import Recorder, Ticks
from coordstore.testing.memory import Memory, MemoryStore

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from coordstore.model import Committed, Entry, Listing, Record, Transaction
    from coordstore.testing.history.history import History
    from coordstore.testing.history.workload import Shape

__all__ = ["FaultyStore", "virtual_run"]


class FaultyStore(MemoryStore):
    """A memory store that is slow and fails, and never lies.

    Args:
        memory: What to share with other handles.
        rng: Decides when and how it fails.
        faults: The share of writes that fail, over all ways to fail.
    """

    def __init__(self, memory: Memory, rng: random.Random, faults: float = 0.06) -> None:
        super().__init__(memory)
        self.random = rng
        self.faults = faults
        self._late: set[asyncio.Task[None]] = set()

    async def heal(self) -> None:
        """Fail no more, and return when all late writes have landed."""
        self.faults = 0.0
        while self._late:
            await asyncio.wait(self._late)

    async def turns(self) -> None:
        """Let others run a while."""
        for _ in range(self.random.randrange(4)):
            await asyncio.sleep(0)

    async def do_get(self, key: str) -> Entry | None:
        """Take time."""
        await self.turns()
        found = await super().do_get(key)
        await self.turns()
        return found

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Take time."""
        await self.turns()
        found = await super().do_list(prefix, limit, after, keys_only=keys_only)
        await self.turns()
        return found

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Take time."""
        await self.turns()
        found = await super().do_read(stream, after, limit)
        await self.turns()
        return found

    async def do_delete_prefix(self, prefix: str) -> int:
        """Take time."""
        await self.turns()
        count = await super().do_delete_prefix(prefix)
        await self.turns()
        return count

    async def do_transact(self, txn: Transaction) -> Committed:
        """Take time, and fail now and then."""
        await self.turns()
        if self.random.random() < self.faults:
            await self._fail(txn)
        done = await self.apply(txn)
        await self.turns()
        return done

    async def apply(self, txn: Transaction) -> Committed:
        """Apply a transaction."""
        return await super().do_transact(txn)

    async def _fail(self, txn: Transaction) -> None:
        """Fail in one of four ways."""
        way = self.random.randrange(4)
        if way == 0:
            message = "the store is out of reach: not applied; try again"
            raise Unavailable(message)
        if way == 1:
            await self._land(txn)
        if way == 2:
            late = asyncio.create_task(self._land(txn, delay=self.random.randrange(30)))
            self._late.add(late)
            late.add_done_callback(self._late.discard)
        message = "the connection broke before the answer came: it may have been applied; resolve it or look"
        raise OutcomeUnknown(message)

    async def _land(self, txn: Transaction, delay: int = 0) -> None:
        for _ in range(delay):
            await asyncio.sleep(0)
        # Whoever sent it knows no outcome, so a refusal reaches nobody.
        with contextlib.suppress(CoordError):
            await self.apply(txn)


async def virtual_run(shape: Shape, make: Callable[[Memory, random.Random], FaultyStore] = FaultyStore) -> History:
    """Do a run on virtual time, with two handles on one memory; the same shape gives the same history.

    Args:
        shape: What to do.
        make: Makes a handle; by default a sound one.
    """
    clock = Clock()
    memory = Memory(clock)
    stores = [make(memory, shape.random(f"handle {number}")) for number in range(2)]
    moving = asyncio.Lock()

    async def between(rng: random.Random) -> None:
        await asyncio.sleep(0)
        if rng.random() < 0.04:
            async with moving:
                await clock.advance(rng.random() * shape.ttl)

    async def heal() -> None:
        for store in stores:
            await store.heal()

    try:
        return await run(stores, Recorder(now_ns=Ticks(clock)), shape, between, heal)
    finally:
        for store in stores:
            await store.aclose()
