"""The kinds of request that go through a batch; each decides against the draft and moves it, or refuses."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from coordstore import engine
from coordstore.model import Committed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.hostkit import LeaseFile
    from coordstore.model import Transaction
    from coordstore_file.draft import Draft

__all__ = ["DeletePrefix", "Drop", "Request", "Revoke", "Sweep", "Transact", "Trim"]


class Request(Protocol):
    """Something to commit; all of it, or nothing when it raises."""

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:
        """Decide, then move the draft; an error of the contract is raised before it moves."""


class Transact(NamedTuple):
    """A checked transaction."""

    txn: Transaction

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:
        """Commit it."""
        return _commit(draft, engine.decide(draft, self.txn, _Live(leases) if self.txn.writes else ()))


class DeletePrefix(NamedTuple):
    """All keys under a prefix go."""

    prefix: str

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Remove them at one revision."""
        return _commit(draft, engine.decide_delete_prefix(draft, self.prefix))


class Trim(NamedTuple):
    """Records of a stream go, up to a sequence."""

    stream: str
    upto: int

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Remove them."""
        return _commit(draft, engine.decide_trim(draft, self.stream, self.upto))


class Drop(NamedTuple):
    """A stream goes with its head."""

    stream: str

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Remove it."""
        return _commit(draft, engine.decide_drop(draft, self.stream))


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
        for commit in engine.decide_end_leases(draft, (self.lease,)):
            draft.evolve(commit)
        return Committed(draft.revision)


class Sweep:
    """The leases that are due end; every batch begins with that, so there is nothing else to do."""

    __slots__ = ()

    def apply(self, draft: Draft, leases: LeaseFile) -> Committed:  # noqa: ARG002  (the protocol's)
        """Answer with the revision."""
        return Committed(draft.revision)


class _Live(Collection[int]):
    """The leases that can still be renewed, asked for one by one."""

    def __init__(self, leases: LeaseFile) -> None:
        self._leases = leases

    def __contains__(self, lease: object) -> bool:
        """Ask the lease table."""
        return isinstance(lease, int) and self._leases.is_live(lease)

    def __iter__(self) -> Iterator[int]:
        """Yield all of them."""
        return (slot.id for slot in self._leases.live())

    def __len__(self) -> int:
        """Count all of them."""
        return len(self._leases.live())


def _commit(draft: Draft, commit: engine.Commit) -> Committed:
    draft.evolve(commit)
    heads = {record.stream: record.sequence for record in commit.records}
    deleted = sum([change.entry is None for change in commit.changes]) if commit.changes else 0
    return Committed(commit.revision, deleted, heads)
