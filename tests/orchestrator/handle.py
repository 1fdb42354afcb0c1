"""One simulated process's way to the shared store, which can be slow, stand still, be cut off, or lose an answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import Conflict, CoordError, OutcomeUnknown, Unavailable
from coordstore.testing import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from coordstore.model import Committed, Entry, Listing, Transaction
    from tests.orchestrator.simulation import World

__all__ = ["Handle"]

PATIENCE: Final = 3.0
"""Seconds after which a request into a partition is given up."""


class Handle(MemoryStore):
    """One process's handle: requests take time, and once sent they land even when the caller has gone."""

    def __init__(self, world: World, pid: int) -> None:
        super().__init__(world.memory)
        self.world = world
        self.pid = pid
        self.open_gate = asyncio.Event()
        self.open_gate.set()
        self.connected = asyncio.Event()
        self.connected.set()
        self.partition: asyncio.Task[None] | None = None
        self.under_way: set[asyncio.Task[Any]] = set()

    @property
    def well(self) -> bool:
        return self.open_gate.is_set() and self.connected.is_set()

    def heal(self) -> None:
        if self.partition is not None:
            self.partition.cancel()
        self.open_gate.set()
        self.connected.set()

    def kill(self) -> None:
        """End it as kill -9 does: nothing is revoked, what was sent may land."""
        self._closed = True
        self.heal()
        self.memory.wake()

    def cut(self, seconds: float) -> None:
        """Cut it off for so long."""
        self.heal()
        self.connected.clear()
        self.partition = asyncio.ensure_future(self._partition(seconds))

    async def _partition(self, seconds: float) -> None:
        await self.world.clock.sleep(seconds)
        self.connected.set()

    def begin(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Do something that nobody has to wait for."""
        task = asyncio.ensure_future(work)
        self.under_way.add(task)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())
        task.add_done_callback(self.under_way.discard)
        return task

    async def do_get(self, key: str) -> Entry | None:
        await self._reach()
        return await super().do_get(key)

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        await self._reach()
        return await super().do_list(prefix, limit, after, keys_only=keys_only)

    async def do_transact(self, txn: Transaction) -> Committed:
        done: Committed = await asyncio.shield(self.begin(self._send(txn)))
        return done

    async def _send(self, txn: Transaction) -> Committed:
        await self.world.delay()
        await self.open_gate.wait()
        fault = self.world.fault()
        if not self.connected.is_set():
            fault = self.world.random.choice(["unavailable", "lost", "late"])
            await self.world.clock.sleep(PATIENCE)
        if fault == "unavailable":
            message = "not reached"
            raise Unavailable(message)
        if fault == "late":
            self.begin(self._late(txn))
        done = None if fault in ("lost", "late") else await self._land(txn)
        if fault is not None or done is None:
            message = "no answer"
            raise OutcomeUnknown(message)
        return done

    async def _late(self, txn: Transaction) -> None:
        """Have it land when the partition is over, long after its sender has given it up."""
        await self.connected.wait()
        try:
            await self._land(txn)
        except (Conflict, CoordError):
            self.world.seen["late and refused"] += 1
        else:
            self.world.seen["late and landed"] += 1

    async def _land(self, txn: Transaction) -> Committed:
        try:
            done = await super().do_transact(txn)
        except Conflict as conflict:
            verdict = any(b'"verdict"' in append.data for append in txn.appends)
            self.world.refused += [] if verdict else [key for key in conflict.revisions if key != "s1/meta"]
            raise
        self.world.authors.setdefault(done.revision, self.pid)  # what changes nothing has the revision of another
        return done

    async def _reach(self) -> None:
        if not self.connected.is_set():
            await self.world.clock.sleep(PATIENCE)
            message = "not reached"
            raise Unavailable(message)

    async def lease_renew(self, lease: int) -> None:
        await self.open_gate.wait()
        await self._reach()
        await super().lease_renew(lease)

    async def lease_revoke(self, lease: int) -> None:
        await self.open_gate.wait()
        await self._reach()
        await super().lease_revoke(lease)

    async def changed(self, revision: int) -> None:
        await super().changed(revision)
        await self.world.delay()
        await self.open_gate.wait()
        await self.connected.wait()
        self.ensure_open()
