"""The kinds of request that go through a batch; each decides against the draft and writes into it, or refuses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from coordstore.engine import check_failed, fenced, lease_lost
from coordstore.model import Committed, Put

if TYPE_CHECKING:
    from coordstore.hostkit import LeaseFile
    from coordstore.model import Transaction
    from coordstore_sqlite.draft import Draft

__all__ = ["Compact", "DeletePrefix", "Drop", "Purge", "Request", "Revoke", "Sweep", "Transact", "Trim"]


class Request(Protocol):
    """Something to write; all of it, or nothing when it raises."""

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:
        """Decide, then write; an error of the contract is raised before anything is written."""


class Transact(NamedTuple):
    """A checked transaction."""

    txn: Transaction

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:
        """Compare the fence, then the checks, then write at a revision of its own."""
        txn = self.txn
        writes = txn.writes
        if txn.fence is not None or txn.checks or writes:
            self._refuse(draft, leases)
        if not txn.appends and not any(isinstance(w, Put) or draft.look(w.key).revision for w in writes):
            return Committed(draft.revision)
        draft.revision += 1
        deleted = 0
        for position, write in enumerate(writes):
            if isinstance(write, Put):
                draft.put(position, write)
            else:
                deleted += draft.delete(position, write.key)
        heads = {}
        for position, append in enumerate(txn.appends):
            heads[append.stream] = draft.append(position, append)
        return Committed(draft.revision, deleted, heads)

    def _refuse(self, draft: Draft, leases: LeaseFile) -> None:
        fence, writes = self.txn.fence, self.txn.writes
        if fence is not None:
            seen = draft.look(fence.key)
            if not fence.holds(*seen):
                raise fenced(fence, seen.create_revision)
        if self.txn.checks:
            looks = [(check, *draft.look(check.key)) for check in self.txn.checks]
            failed = [look for look in looks if not look[0].holds(look[1], look[2])]
            if failed:
                raise check_failed(failed)
        if not writes:
            return
        for lease in {write.lease for write in writes if isinstance(write, Put)} - {None}:
            if not leases.is_live(lease):  # type: ignore[arg-type]  # a checked put holds an id
                raise lease_lost(lease)  # type: ignore[arg-type]  # likewise


class DeletePrefix(NamedTuple):
    """All keys under a prefix go."""

    prefix: str

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Remove them at one revision."""
        deleted = draft.delete_all(draft.keys_under(self.prefix))
        return Committed(draft.revision, deleted)


class Trim(NamedTuple):
    """Records of a stream go, up to a sequence."""

    stream: str
    upto: int

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Remove them."""
        draft.trim(self.stream, self.upto)
        return Committed(draft.revision)


class Drop(NamedTuple):
    """A stream goes with its head."""

    stream: str

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Remove it."""
        draft.drop(self.stream)
        return Committed(draft.revision)


class Compact(NamedTuple):
    """The history goes, except the last revisions."""

    keep: int

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Raise the floor; answer with it as the revision."""
        draft.forget(draft.revision - self.keep)
        return Committed(draft.floor)


class Purge:
    """What lies below the floor is removed, one step of it."""

    __slots__ = ()

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Remove some; tell how many changes went."""
        return Committed(draft.revision, draft.purge())


@dataclass(slots=True)
class Revoke:
    """A lease ends now, with its keys.

    Args:
        lease: Which.
        marked: Whether it has ended for good, even when its keys could not be removed.
    """

    lease: int
    marked: bool = False

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:
        """Mark it, so that no renewal comes between, then remove its keys at one revision."""
        self.marked = True
        leases.mark_due((), revoked=(self.lease,))
        draft.swept = True
        return Committed(draft.revision, draft.delete_all(draft.keys_on(self.lease)))


class Sweep:
    """The leases that are due end; every batch begins with that, so there is nothing else to do."""

    __slots__ = ()

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Answer with the revision."""
        return Committed(draft.revision)
