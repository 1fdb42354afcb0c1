"""Planted-broken stores that err in keys and transactions."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from coordstore import engine
from coordstore.errors import Conflict
from coordstore.model import Change, Committed, Listing, Put, Transaction
from coordstore.testing.broken.base import BrokenStore

if TYPE_CHECKING:
    from coordstore.model import Entry
    from coordstore.testing.memory import Memory

__all__ = [
    "AlwaysDeleted",
    "AppliedConflict",
    "BusyRevision",
    "HalfKeptPromise",
    "LostUpdate",
    "MovingToken",
    "PiecemealDelete",
    "PrefixLeak",
    "StaleRead",
    "TornTransaction",
    "TwoCutList",
]


class StaleRead(BrokenStore):
    """Answers a get from a cache that only its own handle's writes refresh."""

    caught_by = "KeyTests"

    def __init__(self, memory: Memory | None = None) -> None:
        super().__init__(memory)
        self._cache: dict[str, Entry | None] = {}

    async def do_get(self, key: str) -> Entry | None:
        """Look into the cache first."""
        if key not in self._cache:
            self._cache[key] = await super().do_get(key)
        return self._cache[key]

    async def do_transact(self, txn: Transaction) -> Committed:
        """Forget what this handle writes."""
        done = await super().do_transact(txn)
        for write in txn.writes:
            self._cache.pop(write.key, None)
        return done


class TwoCutList(BrokenStore):
    """Reads the second half of a list later than the first."""

    caught_by = "KeyTests"

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Look twice."""
        first = await super().do_list(prefix, limit, after, keys_only=keys_only)
        await asyncio.sleep(0)
        second = await super().do_list(prefix, limit, after, keys_only=keys_only)
        half = len(first.entries) // 2
        return Listing(first.revision, first.entries[:half] + second.entries[half:], first.more)


class PrefixLeak(BrokenStore):
    """Takes a prefix for a prefix of the text, so that a1 covers a10."""

    caught_by = "KeyTests"

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """List by `str.startswith`."""
        whole = await super().do_list("", None, after, keys_only=keys_only)
        found = [entry for entry in whole.entries if entry.key.startswith(prefix)]
        return Listing(whole.revision, found[:limit], limit is not None and len(found) > limit)


class MovingToken(BrokenStore):
    """Takes every put for a creation, so that the fencing token changes under its holder."""

    caught_by = "FencingTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Delete before each put."""
        engine.decide(self.memory.state, txn, self.memory.leases)
        for write in txn.writes:
            if isinstance(write, Put) and self.memory.state.get(write.key):
                self.memory.evolve(engine.decide_delete_prefix(self.memory.state, write.key))
        return self.force(txn)


# --- writes and transactions ----------------------------------------------------------------------------


class AppliedConflict(BrokenStore):
    """Says Conflict of a transaction that it has applied."""

    caught_by = "WriteTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Write first, complain then."""
        try:
            return await super().do_transact(txn)
        except Conflict:
            self.force(txn)
            raise


class AlwaysDeleted(BrokenStore):
    """Says of every delete that the key was there."""

    caught_by = "WriteTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Count the deletes asked for instead of those done."""
        done = await super().do_transact(txn)
        return done._replace(deleted=sum(not isinstance(write, Put) for write in txn.writes))


class PiecemealDelete(BrokenStore):
    """Deletes a prefix key by key, each at a revision of its own."""

    caught_by = "WriteTests"

    async def do_delete_prefix(self, prefix: str) -> int:
        """Loop."""
        keys = self.memory.state.keys(prefix)
        for key in keys:
            self.memory.evolve(engine.Commit(self.memory.state.revision + 1, (Change(key, None),)))
        return len(keys)


class LostUpdate(BrokenStore):
    """Compares, lets others run, and writes without comparing again."""

    caught_by = "TransactionTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Check, then act."""
        engine.decide(self.memory.state, txn, self.memory.leases)
        await asyncio.sleep(0)
        return self.force(txn)


class TornTransaction(BrokenStore):
    """Applies the writes of a transaction one after another, each at a revision of its own."""

    caught_by = "TransactionTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Commit piece by piece."""
        if len(txn.writes) + len(txn.appends) < 2:
            return await super().do_transact(txn)
        engine.decide(self.memory.state, txn, self.memory.leases)
        pieces = [Transaction((write,)) for write in txn.writes] + [
            Transaction(appends=(each,)) for each in txn.appends
        ]
        parts = [self.force(piece) for piece in pieces]
        heads = {name: head for part in parts for name, head in part.heads.items()}
        return Committed(parts[-1].revision, sum(part.deleted for part in parts), heads)


class HalfKeptPromise(BrokenStore):
    """Keeps the records of a transaction whose checks failed."""

    caught_by = "TransactionTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Append outside of the transaction."""
        try:
            return await super().do_transact(txn)
        except Conflict:
            self.force(Transaction(appends=txn.appends))
            raise


class BusyRevision(BrokenStore):
    """Takes a revision also for a transaction that changes nothing."""

    caught_by = "TransactionTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Count up in any case."""
        before = self.memory.state.revision
        done = await super().do_transact(txn)
        if done.revision == before:
            return self.memory.evolve(engine.Commit(before + 1))
        return done
