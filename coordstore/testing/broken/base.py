"""What the planted-broken stores share: a MemoryStore that can be made to write without asking."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from coordstore import engine
from coordstore.testing.memory import MemoryStore

if TYPE_CHECKING:
    from coordstore.model import Committed, Transaction

__all__ = ["BrokenStore"]


class BrokenStore(MemoryStore):
    """Base of the broken stores.

    Attributes:
        caught_by: The topic of the suite, by class name, that must fail.
        hangs: Whether the bug shows as something that never comes; else running into a deadline does not count
            as caught, for a busy machine does that too.
    """

    caught_by: ClassVar[str]
    hangs: ClassVar[bool] = False

    def force(self, txn: Transaction) -> Committed:
        """Apply a transaction whatever its checks and fence say."""
        bare = txn._replace(checks=(), fence=None)
        return self.memory.evolve(engine.decide(self.memory.state, bare, self.memory.leases))
