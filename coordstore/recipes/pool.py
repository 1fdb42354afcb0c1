"""A pool of agents: each held by one at a time, given to the first in line whom it fits, back when its holder ends.

Who waits watches the pool, works out from each revision who gets whom (`PoolView`), and takes its agent in one
transaction once that is its turn: so the only requests that follow a release are those of who is next. Who is alone
there need not even look (`Memory`): to reserve and to release are a transaction each.
"""

from __future__ import annotations

from contextlib import aclosing
from functools import cached_property
from typing import TYPE_CHECKING, ClassVar

from coordstore.errors import Busy, Conflict, Fenced, InvalidKey, LeaseLost
from coordstore.model import Check, Put
from coordstore.names import is_segment
from coordstore.recipes.base import Holding
from coordstore.recipes.held import Held
from coordstore.recipes.pool_memory import Memory
from coordstore.recipes.pool_view import Agent, PoolEvent, PoolView, Request
from coordstore.recipes.reservation import Reservation, Taking
from coordstore.recipes.waiting import check_wait, to_the_end, views, wall_time

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable

    from coordstore.store import Lease

__all__ = ["Agent", "Pool", "PoolEvent", "Request", "Reservation"]


class Pool(Holding):
    """A pool; see `Holding` for its arguments."""

    kind: ClassVar[str] = "pool"

    @cached_property
    def _memory(self) -> Memory:
        return Memory(self.prefix)

    async def register(self, agent: str, capabilities: Iterable[str] = (), complexity: int = 0) -> Held:
        """Add an agent; it goes when what is returned is released or lost (who holds it then goes on).

        Args:
            agent: Its name, one segment of a key.
            capabilities: What it can.
            complexity: The highest that it is up to.

        Raises:
            Busy: There is one of this name; of a dead host until its lease ends.
            InvalidKey: The name is not in the allowed form.
        """
        if not is_segment(agent):
            message = f"agent name {agent!r} is not allowed: one segment [a-z0-9][a-z0-9._-]{{0,63}}"
            raise InvalidKey(message)
        record = Agent(agent, frozenset(capabilities), complexity, wall_time(), None, 0, 0.0)

        async def add(lease: Lease) -> tuple[str, int]:
            key = f"{self.prefix}/agents/{agent}"
            try:
                return key, await self._arrive(Put(key, record.to_json(), lease))
            except Conflict as conflict:
                message = f"pool {self.name} has an agent {agent} already: take another name"
                raise Busy(message) from conflict

        return await self.begin(add, Held)

    async def reserve(
        self, needs: Iterable[str] = (), *, complexity: int = 0, priority: int = 0, wait: float | None = None
    ) -> Reservation:
        """Hold an agent that fits: at once when one is free, else in line.

        Args:
            needs: Capabilities that it must have.
            complexity: What it must be up to.
            priority: Who has a higher one stands before those with a lower one.
            wait: Seconds to stand in line at most; 0: only when one is free now; None: as long as it takes.

        Raises:
            Busy: None was free in time. The place in line is given up.
            LeaseLost: The store was out of reach for too long meanwhile.
        """
        request = Request(frozenset(needs), complexity, priority, self.owner)
        check_wait(wait)
        remembered = self._memory.recall(request)
        while True:
            view = remembered or await self.view()
            agent = view.assigned(request, besides=self._memory.asked)
            if agent is None:
                break
            try:
                with self._memory.asking(agent):
                    return await self._take_at_once(view, agent)
            except Conflict:
                remembered = None
                self._memory.forget()
                self._counters["overtaken"] += 1
        if wait == 0:
            self._counters["refused"] += 1
            raise _none_free(self.name, view, request)
        return await self._stand_in_line(request, wait)

    async def view(self) -> PoolView:
        """Return the pool as it stands: agents, how much they are used, and who waits."""
        listing = await self.store.list(f"{self.prefix}/")
        view = PoolView(self.prefix, {entry.key: entry for entry in listing.entries})
        self._memory.saw(view)
        return view

    async def events(self) -> AsyncGenerator[PoolEvent]:
        """Yield what changes, also when a holder died; at first, what is there."""
        before = PoolView(self.prefix, {})
        async with aclosing(views(self.store, f"{self.prefix}/")) as changes:
            async for entries in changes:
                now = PoolView(self.prefix, dict(entries))
                for event in now.events_since(before):
                    yield event
                before = now

    async def _take_at_once(self, view: PoolView, agent: str) -> Reservation:
        taking = Taking(self.prefix, view, agent, self.clock)

        async def take(lease: Lease) -> tuple[str, int]:
            return taking.slot, await taking.take(self.store, lease, self.owner)

        held = await self.begin(take, Reservation)
        held.got(taking, held.token, self._memory)
        self._counters["acquired"] += 1
        return held

    async def _stand_in_line(self, request: Request, wait: float | None) -> Reservation:
        self._memory.forget()

        async def get_in_line(lease: Lease) -> tuple[str, int]:
            key = self.new_key("queue")
            return key, await self._arrive(Put(key, request.to_json(), lease))

        held = await self.begin(get_in_line, Reservation)
        await self.until(held, self._turn(held), wait, f"a fitting agent of pool {self.name}")
        return held

    async def _arrive(self, record: Put) -> int:
        """Make the record of an agent or of a place in line; who goes by what was before looks again."""
        last = Put(f"{self.prefix}/last", record.key.encode(), record.lease)
        return await self.store.transact([record, last], [Check(record.key, revision=0)])

    async def _turn(self, held: Reservation) -> None:
        """Return once an agent is ours, and the place in line with that gone."""
        async with aclosing(views(self.store, f"{self.prefix}/")) as changes:
            async for entries in changes:
                view = PoolView(self.prefix, entries)
                if held.key not in view.waiting:
                    break
                agent = view.assigned(key=held.key)
                if agent is not None and await self._take(Taking(self.prefix, view, agent, self.clock), held):
                    return
        message = f"the place in line of pool {self.name} is gone"
        raise LeaseLost(message, lease=held.lease.id)

    async def _take(self, taking: Taking, held: Reservation) -> bool:
        """Take what is ours by the view; tell whether the view was right."""
        request = taking.take(self.store, held.lease, self.owner, held)
        try:
            await to_the_end(request, lambda token: held.got(taking, token, self._memory))
        except (Conflict, Fenced):
            return False  # it was behind: the next one tells
        return True


def _none_free(pool: str, view: PoolView, request: Request) -> Busy:
    fitting = sum(agent.fits(request) for agent in view.agents.values())
    busy = sum(agent.fits(request) and agent.holder is not None for agent in view.agents.values())
    said = f"limit {busy}/{fitting} reached" if fitting else "it has none that fits"
    return Busy(f"no agent of pool {pool} is free: {said}")
