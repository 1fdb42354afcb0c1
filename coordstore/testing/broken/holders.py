"""Planted-broken stores that err in leases, fences, limits, names and in their own life."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING

from coordstore import engine
from coordstore.errors import CoordError, LeaseLost
from coordstore.model import Change, Committed, Delete, Put, Resolution, Transaction
from coordstore.testing.broken.base import BrokenStore

if TYPE_CHECKING:
    from coordstore.model import Entry, HasId, StoreInfo
    from coordstore.store import Fence, Lease
    from coordstore.testing.memory import Memory

__all__ = [
    "FoldedKeys",
    "LaxLimits",
    "LeaseRevived",
    "LockLeft",
    "LookOnly",
    "NewIdentity",
    "RoundedTtl",
    "ServesClosed",
    "StickyLease",
    "TornByCancel",
    "TricklingExpiry",
    "UnsweptWatch",
    "ZombieAccepted",
]


# --- leases and fences ----------------------------------------------------------------------------------


class TricklingExpiry(BrokenStore):
    """Ends a lease key by key, each at a revision of its own."""

    caught_by = "LeaseTests"

    async def lease_revoke(self, lease: int) -> None:
        """Loop over the keys."""
        for key in self.memory.state.leased(lease):
            self.memory.evolve(engine.Commit(self.memory.state.revision + 1, (Change(key, None),)))
        await super().lease_revoke(lease)


class LeaseRevived(BrokenStore):
    """Lets a renewal bring an ended lease back."""

    caught_by = "LeaseTests"

    async def lease_renew(self, lease: int) -> None:
        """Grant again under the old id."""
        try:
            await super().lease_renew(lease)
        except LeaseLost:
            self.memory.leases[self.memory.grant(3600)].ttl = 3600
            self.memory.leases[lease] = self.memory.leases.popitem()[1]


class UnsweptWatch(BrokenStore):
    """Ends leases only when somebody writes, so that watchers of a quiet store wait for ever."""

    caught_by = "LeaseTests"
    hangs = True

    async def changed(self, revision: int) -> None:
        """Wait without looking at what is due."""
        while self.memory.state.revision <= revision:
            await self.memory.wait()
            self.ensure_open()


class StickyLease(BrokenStore):
    """Leaves a key on its lease when it is put without one."""

    caught_by = "LeaseTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Keep the old lease."""
        return await super().do_transact(txn._replace(writes=tuple(self._stuck(write) for write in txn.writes)))

    def _stuck(self, write: Put | Delete) -> Put | Delete:
        old = self.memory.state.get(write.key)
        return write._replace(lease=old.lease) if isinstance(write, Put) and old and not write.lease else write


class ZombieAccepted(BrokenStore):
    """Takes no notice of fences."""

    caught_by = "FencingTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Forget the fence."""
        return await super().do_transact(txn._replace(fence=None))


# --- cancellation ---------------------------------------------------------------------------------------


class TornByCancel(BrokenStore):
    """Writes the keys, lets others run, then writes the records: a cancellation falls in between."""

    caught_by = "CancellationTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Do it in two steps."""
        done = await super().do_transact(txn._replace(appends=()))
        if not txn.appends:
            return done
        await asyncio.sleep(0)
        return self.force(Transaction(appends=txn.appends))._replace(deleted=done.deleted)


class LockLeft(BrokenStore):
    """Keeps its lock when it is cancelled."""

    caught_by = "CancellationTests"
    hangs = True

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__(memory)
        self._lock = asyncio.Lock()

    async def do_transact(self, txn: Transaction) -> Committed:
        """Release only what went well or was refused."""
        await self._lock.acquire()
        try:
            done = await super().do_transact(txn)
        except CoordError:
            self._lock.release()
            raise
        self._lock.release()
        return done


# --- limits and names -----------------------------------------------------------------------------------


class LaxLimits(BrokenStore):
    """Takes single puts of any size."""

    caught_by = "LimitTests"

    async def put(
        self,
        key: str,
        value: bytes,
        expect: int | None = None,
        lease: HasId | int | None = None,
        fence: Fence | None = None,
    ) -> int:
        """Go round the checks when the value is long."""
        if len(value) > 2**20:
            return (await self.commit(Transaction((Put(key, value),)))).revision
        return await super().put(key, value, expect, lease, fence)


class RoundedTtl(BrokenStore):
    """Takes a lease of one second for one of two."""

    caught_by = "LimitTests"

    async def grant(self, ttl: int) -> Lease:
        """Round up."""
        return await super().grant(2 if ttl == 1 else ttl)


class FoldedKeys(BrokenStore):
    """Folds keys to lower case instead of refusing them."""

    caught_by = "NameTests"

    async def get(self, key: str) -> Entry | None:
        """Fold first."""
        return await super().get(str(key).lower())


# --- the rest -------------------------------------------------------------------------------------------


class LookOnly(BrokenStore):
    """Resolves by looking alone: absence proves nothing, the write may land later."""

    caught_by = "ResolveTests"

    async def resolve(self, op: str) -> Resolution:
        """Look, and leave the slot where it is."""
        key, mark, _ = json.loads(op)
        entry = await self.get(key)
        applied = entry is not None and entry.value == str(mark).encode()
        return Resolution(applied, entry.revision if applied and entry else None)


class NewIdentity(BrokenStore):
    """Makes up an identity for every handle."""

    caught_by = "IdentityTests"

    async def do_info(self) -> StoreInfo:
        """Take the handle's address."""
        return replace(await super().do_info(), store_id=f"{id(self):032x}")


class ServesClosed(BrokenStore):
    """Goes on answering after it was closed, and in a forked child."""

    caught_by = "ClosingTests"

    def ensure_open(self) -> None:
        """Refuse nothing."""
