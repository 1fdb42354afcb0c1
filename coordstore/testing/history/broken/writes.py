"""Planted-broken stores that err in writes, transactions, leases and fences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore import engine
from coordstore.errors import Conflict, Fenced, LeaseLost, Unavailable
from coordstore.model import Change, Committed, Put, Transaction
from coordstore.testing.history.broken.base import BrokenStore

if TYPE_CHECKING:
    import random

    from coordstore.testing.memory import Memory

__all__ = ["WRITES"]

NOT_APPLIED: Final = "failed but applied"


class LostUpdate(BrokenStore):
    """Compares, lets others run, and writes without comparing again."""

    caught_by = frozenset({"check ignored", "zombie accepted"})

    async def apply(self, txn: Transaction) -> Committed:
        """Check, then act."""
        engine.decide(self.memory.state, txn, self.memory.leases)
        await self.turns()
        return self.force(txn)


class DoubleSwap(BrokenStore):
    """Lets a compare-and-set through whose comparison failed, now and then."""

    caught_by = frozenset({"check ignored"})

    async def apply(self, txn: Transaction) -> Committed:
        """Forget the checks."""
        return await super().apply(txn._replace(checks=()) if self.slips() else txn)


class AppliedTwice(BrokenStore):
    """Loses a reply and sends the write again, although it had landed."""

    caught_by = frozenset({"applied twice"})

    async def apply(self, txn: Transaction) -> Committed:
        """Retry what was applied."""
        done = await super().apply(txn)
        return self.force(txn) if self.slips() else done


class DoubledRecord(BrokenStore):
    """Sends only the appends again."""

    caught_by = frozenset({"record doubled"})

    async def apply(self, txn: Transaction) -> Committed:
        """Retry the records."""
        done = await super().apply(txn)
        if txn.appends and self.slips():
            self.force(Transaction(appends=txn.appends))
        return done


class SequenceGap(BrokenStore):
    """Burns a sequence for a record that was refused or lost."""

    caught_by = frozenset({"sequence not dense"})

    async def apply(self, txn: Transaction) -> Committed:
        """Lose the record before the ones asked for."""
        if txn.appends and self.slips():
            stream = self.memory.state._streams.get(txn.appends[0].stream)  # noqa: SLF001 - a bug needs a way round
            if stream:
                stream.head += 1
        return await super().apply(txn)


class TornTransaction(BrokenStore):
    """Applies the writes of a transaction one after another, each at a revision of its own."""

    caught_by = frozenset({"applied twice", "not as asked"})

    async def apply(self, txn: Transaction) -> Committed:
        """Commit piece by piece."""
        if len(txn.writes) < 2 or not self.slips():
            return await super().apply(txn)
        engine.decide(self.memory.state, txn, self.memory.leases)
        self.force(Transaction(txn.writes[:1]))
        await self.turns()
        return self.force(Transaction(txn.writes[1:], (), txn.appends))


class WrongRevision(BrokenStore):
    """Returns the revision before: one that another write has."""

    caught_by = frozenset({"wrong revision", "lost write"})

    async def apply(self, txn: Transaction) -> Committed:
        """Go back by one."""
        done = await super().apply(txn)
        return done._replace(revision=done.revision - 1) if self.slips() else done


class AppliedConflict(BrokenStore):
    """Says Conflict of a transaction that it has applied."""

    caught_by = frozenset({NOT_APPLIED})

    async def apply(self, txn: Transaction) -> Committed:
        """Write first, complain then."""
        try:
            return await super().apply(txn)
        except Conflict:
            if self.slips():
                self.force(txn)
            raise


class AppliedUnavailable(BrokenStore):
    """Says that it could not be reached when only the reply was lost."""

    caught_by = frozenset({NOT_APPLIED})

    async def apply(self, txn: Transaction) -> Committed:
        """Report an unknown outcome as a failure."""
        done = await super().apply(txn)
        if self.slips():
            message = "the connection broke"
            raise Unavailable(message)
        return done


class LostWrite(BrokenStore):
    """Acknowledges what it never wrote."""

    caught_by = frozenset({"lost write", "record lost"})
    share = 0.03

    async def apply(self, txn: Transaction) -> Committed:
        """Decide, and forget."""
        if not self.slips():
            return await super().apply(txn)
        made = engine.decide(self.memory.state, txn, self.memory.leases)
        heads = {record.stream: record.sequence for record in made.records}
        return Committed(made.revision, sum(change.entry is None for change in made.changes), heads)


class Resurrected(BrokenStore):
    """Brings a deleted key back with its old value."""

    caught_by = frozenset({"applied twice"})

    async def apply(self, txn: Transaction) -> Committed:
        """Put again what was deleted."""
        old = [self.memory.state.get(write.key) for write in txn.writes if not isinstance(write, Put)]
        done = await super().apply(txn)
        for entry in old:
            if entry and not entry.lease and self.memory.state.get(entry.key) is None and self.slips():
                self.force(Transaction((Put(entry.key, entry.value),)))
        return done


class PhantomDelete(BrokenStore):
    """Says of a delete that the key was there when it was not."""

    caught_by = frozenset({"lost write"})

    async def apply(self, txn: Transaction) -> Committed:
        """Count what was asked for."""
        done = await super().apply(txn)
        return done._replace(deleted=len(txn.writes)) if self.slips() else done


class FalseConflict(BrokenStore):
    """Compares with a state that is out of date, and refuses what it should take."""

    caught_by = frozenset({"stale read"})

    async def apply(self, txn: Transaction) -> Committed:
        """Refuse for no reason."""
        if txn.checks and self.slips():
            seen = {check.key: max((check.revision or 0) - 1, 0) for check in txn.checks}
            message = "seen in an old copy"
            raise Conflict(message, revisions=seen)
        return await super().apply(txn)


class OldToken(BrokenStore):
    """Gives a key that was deleted and made anew the create revision it had before."""

    caught_by = frozenset({"log", "zombie accepted", "check ignored", "watch creations"})

    def __init__(self, memory: Memory, rng: random.Random) -> None:
        super().__init__(memory, rng)
        self._created: dict[str, int] = {}

    async def apply(self, txn: Transaction) -> Committed:
        """Remember create revisions for too long."""
        made = engine.decide(self._swept(), txn, self.memory.leases)
        kept = engine.Commit(made.revision, tuple(self._aged(change) for change in made.changes), made.records)
        return self.memory.evolve(kept)

    def _aged(self, change: Change) -> Change:
        if change.entry is None:
            return change
        created = self._created.setdefault(change.key, change.entry.create_revision)
        return Change(change.key, change.entry._replace(create_revision=created))


class PiecemealDelete(BrokenStore):
    """Deletes a prefix key by key, each at a revision of its own."""

    caught_by = frozenset({"lost write", "invented delete"})

    async def do_delete_prefix(self, prefix: str) -> int:
        """Loop."""
        keys = self.memory.state.keys(prefix)
        for key in keys:
            self.memory.evolve(engine.decide_delete_prefix(self.memory.state, key))
            await self.turns()
        return len(keys)


class StickyLease(BrokenStore):
    """Leaves a key on its lease when it is put without one."""

    caught_by = frozenset({"not as asked"})

    async def apply(self, txn: Transaction) -> Committed:
        """Hang what is put on some lease."""
        if not self.memory.leases or not self.slips():
            return await super().apply(txn)
        lease = max(self.memory.leases)
        writes = (each._replace(lease=each.lease or lease) if isinstance(each, Put) else each for each in txn.writes)
        return await super().apply(txn._replace(writes=tuple(writes)))


# --- leases and fences ----------------------------------------------------------------------------------


class ZombieAccepted(BrokenStore):
    """Takes no notice of fences."""

    caught_by = frozenset({"zombie accepted"})
    share = 1.0

    async def apply(self, txn: Transaction) -> Committed:
        """Forget the fence."""
        return await super().apply(txn._replace(fence=None) if self.slips() else txn)


class EarlySteal(BrokenStore):
    """Ends leases after half their time."""

    caught_by = frozenset({"lease ended early", "lease lost early"})

    async def do_grant(self, ttl: int) -> int:
        """Halve the term."""
        lease = await super().do_grant(ttl)
        self.memory.set_deadline(lease, self.clock.now() + ttl / 2)
        return lease


class TricklingExpiry(BrokenStore):
    """Ends a lease key by key, each at a revision of its own."""

    caught_by = frozenset({"lease came back", "invented delete"})

    async def lease_revoke(self, lease: int) -> None:
        """Loop over the keys."""
        for key in self.memory.state.leased(lease):
            self.memory.evolve(engine.decide_delete_prefix(self.memory.state, key))
            await self.turns()
        await super().lease_revoke(lease)


class RevivedLease(BrokenStore):
    """Lets a renewal or a put bring an ended lease back."""

    caught_by = frozenset({"lease came back"})
    share = 1.0

    async def apply(self, txn: Transaction) -> Committed:
        """Grant again what is gone."""
        try:
            return await super().apply(txn)
        except LeaseLost as lost:
            if not self.slips():
                raise
            self.memory.leases[lost.lease] = type(self.memory.leases[self.memory.grant(3)])(3, self.clock.now() + 3)
            return await super().apply(txn)


class FencedHolder(BrokenStore):
    """Refuses the true holder now and then."""

    caught_by = frozenset({"stale read"})

    async def apply(self, txn: Transaction) -> Committed:
        """Refuse for no reason."""
        entry = self.memory.state.get(txn.fence.key) if txn.fence else None
        if txn.fence and entry and self.slips():
            message = "seen in an old copy"
            raise Fenced(message, key=txn.fence.key, token=txn.fence.create_revision or 0, current=0)
        return await super().apply(txn)


WRITES: Final[tuple[type[BrokenStore], ...]] = (
    LostUpdate,
    DoubleSwap,
    AppliedTwice,
    DoubledRecord,
    SequenceGap,
    TornTransaction,
    WrongRevision,
    AppliedConflict,
    AppliedUnavailable,
    LostWrite,
    Resurrected,
    PhantomDelete,
    FalseConflict,
    OldToken,
    PiecemealDelete,
    StickyLease,
    ZombieAccepted,
    EarlySteal,
    TricklingExpiry,
    RevivedLease,
    FencedHolder,
)
"""All of this module."""
