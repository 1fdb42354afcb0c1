"""An agent of a pool that is ours: how it is taken in one transaction, and what is accounted when it goes back."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from coordstore.model import Check, Delete, Put
from coordstore.recipes.held import Held

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coordstore.model import HasId
    from coordstore.recipes.pool_memory import Memory
    from coordstore.recipes.pool_view import PoolView
    from coordstore.store import Clock, CoordStore, Lease

__all__ = ["Reservation", "Taking"]


class Reservation(Held):
    """An agent that is ours until it is released or lost.

    Attributes:
        agent: Its name; empty while we wait for one.
    """

    plain = False
    agent = ""
    _taking: Taking
    _memory: Memory
    _since = 0.0

    def got(self, taking: Taking, token: int, memory: Memory) -> None:
        """Take note of what is held now, instead of a place in line."""
        self._taking, self._since, self._memory = taking, taking.clock.now(), memory
        memory.wrote(taking.writes, token)
        self.agent, self.key, self.token = taking.agent, taking.slot, token

    def last_words(self) -> list[Put]:
        """Return the account of how much the agent was used."""
        return [self._taking.account(self._taking.clock.now() - self._since)] if self.agent else []

    def left(self, writes: Iterable[Put | Delete], revision: int) -> None:
        """Remember how the pool was left."""
        if self.agent:
            self._memory.wrote(writes, revision)


class Taking:
    """One agent about to be taken, as a view showed it.

    Args:
        prefix: The pool's.
        view: What we go by.
        agent: Which one.
        clock: What its use is measured on.
    """

    def __init__(self, prefix: str, view: PoolView, agent: str, clock: Clock) -> None:
        self.agent = agent
        self.slot = f"{prefix}/slots/{agent}"
        self.clock = clock
        self._used = f"{prefix}/used/{agent}"
        self._entry = view.entries[f"{prefix}/agents/{agent}"]
        self._known = view.agents[agent]
        used = view.entries.get(self._used)
        self._used_at = used.revision if used else 0
        last = view.entries.get(f"{prefix}/last")
        self._arrivals = Check(f"{prefix}/last", revision=last.revision if last else 0)
        self._marked = last is not None
        self.writes: list[Put | Delete] = []

    def account(self, seconds: float) -> Put:
        """Return the write of how often and how long the agent was used; it goes when the agent does."""
        told: dict[str, Any] = {"reserved": self._known.reserved + 1, "busy": self._known.busy + seconds}
        lease: HasId | int | None = self._entry.lease
        return Put(self._used, json.dumps(told).encode(), lease)

    async def take(self, store: CoordStore, lease: Lease, owner: str, place: Held | None = None) -> int:
        """Take the agent and leave the line; return the token.

        Raises:
            Conflict: The view was behind.
            Fenced: The place in line is gone.
        """
        self.writes = [Put(self.slot, owner.encode(), lease), self.account(0)]
        checks = [
            Check(self.slot, revision=0),  # nobody holds it
            Check(self._entry.key, revision=self._entry.revision),  # it is there, and can what we saw
            Check(self._used, revision=self._used_at),  # and nobody held it since we looked
        ]
        if place is None:
            checks.append(self._arrivals)  # and nobody came whose turn is before ours
            if not self._marked:  # who came last has gone: so that its absence cannot be taken for no arrival
                self.writes.append(Put(self._arrivals.key, self._entry.key.encode(), self._entry.lease))
        else:
            self.writes.append(Delete(place.key))
        return await store.transact(self.writes, checks, fence=place.fence if place else None)
