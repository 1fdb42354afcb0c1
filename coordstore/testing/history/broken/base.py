"""What the planted-broken stores share: the base, and how often the bug shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from coordstore import engine
from coordstore.testing.history.faulty import FaultyStore

if TYPE_CHECKING:
    from coordstore.model import Committed, Transaction

__all__ = ["BrokenStore"]


class BrokenStore(FaultyStore):
    """Base of the broken stores.

    Attributes:
        caught_by: Rules of which at least one must be found broken.
        share: How often the bug shows, of the times it could.
    """

    caught_by: ClassVar[frozenset[str]]
    share: ClassVar[float] = 0.1

    def slips(self) -> bool:
        """Tell whether the bug shows this time; never once faults are healed."""
        return self.faults > 0 and self.random.random() < self.share

    def force(self, txn: Transaction) -> Committed:
        """Apply a transaction whatever its checks and fence say."""
        bare = txn._replace(checks=(), fence=None)
        return self.memory.evolve(engine.decide(self.memory.state, bare, self.memory.leases))
