"""A session whose worker's moves outlast a short outage of the store, as when a cluster chooses another leader.

Nothing is repeated blindly. A claim and an end check what they change, so of two that were sent at most one is
applied, and which is seen from the keys; a report that may have been written is not written again. All ends with the
lease: after that nobody may know what we know. Only that an agent is to be watched is written until it is known to be.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import Conflict, Fenced, LeaseLost, OutcomeUnknown, Unavailable
from coordstore.session import events
from coordstore.session.claim import Claim
from coordstore.session.session import Session
from coordstore.session.states import FINAL, State
from coordstore.session.values import as_object
from coordstore.store import SystemClock, clock_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from coordstore.model import HasId
    from coordstore.session.keys import SessionKeys
    from coordstore.store import Clock, CoordStore

__all__ = ["SteadySession", "through_outages"]

log = logging.getLogger(__name__)

PAUSE: Final = 0.3
"""Seconds between two tries."""


async def through_outages(do: Callable[[], Awaitable[None]], lease: HasId, clock: Clock | None = None) -> None:
    """Do what may be done again, until the store has said how it ended.

    Args:
        do: What to do.
        lease: As long as it is ours.
        clock: What is waited on between two tries; None: the system's.

    Raises:
        LeaseLost: The lease ended before that.
    """
    while True:
        try:
            return await do()
        except (Unavailable, OutcomeUnknown) as error:
            if getattr(lease, "lost", False):
                message = f"the store was out of reach for too long: {error}"
                raise LeaseLost(message, lease=lease.id) from error
            log.info("%s; trying again", error)
            await (clock or SystemClock()).sleep(PAUSE)


class SteadySession(Session):
    """A session, for a worker."""

    async def claim(self, agent: str, labels: Sequence[str], holder: Mapping[str, Any], lease: HasId) -> Claim:
        """Claim a queued attempt; see `Session.claim`. In an outage, find out whether it became ours."""
        unknown = False
        while True:
            try:
                claim = await super().claim(agent, labels, holder, lease)
            except (Unavailable, OutcomeUnknown) as error:
                unknown = unknown or isinstance(error, OutcomeUnknown)
                if not unknown or getattr(lease, "lost", False):
                    raise
                log.info("claim of %s: %s; looking what became of it", agent, error)
                await clock_of(self.store).sleep(PAUSE)
            except Conflict:
                token = await self._ours(agent, holder, lease) if unknown else None
                if token is None:
                    raise
                return _SteadyClaim(self.store, self.keys, agent, token, lease)
            else:
                return _SteadyClaim(self.store, self.keys, agent, claim.token, lease)

    async def _ours(self, agent: str, holder: Mapping[str, Any], lease: HasId) -> int | None:
        entry = await self.store.get(self.keys.agent(agent, "claim"))
        ours = entry is not None and entry.lease == lease.id and as_object(entry).get("run") == holder.get("run")
        return entry.create_revision if entry is not None and ours else None


class _SteadyClaim(Claim):
    def __init__(self, store: CoordStore, keys: SessionKeys, agent: str, token: int, lease: HasId) -> None:
        super().__init__(store, keys, agent, token)
        self._lease = lease

    async def report(self, *told: events.Event, **values: object) -> None:
        async def once() -> None:
            try:
                await super(_SteadyClaim, self).report(*told, **values)
            except OutcomeUnknown as error:
                if any(isinstance(each, events.Watching) for each in told):
                    raise  # missed, nobody would watch the agent; twice, it is watched anew
                # to write anything else twice would be worse than to miss it
                log.info("report of %s: %s", self.agent, error)

        await through_outages(once, self._lease, clock_of(self._store))

    async def finish(self, new: State, result: Mapping[str, Any], *told: events.Event) -> None:
        unknown = False

        async def once() -> None:
            nonlocal unknown
            try:
                await super(_SteadyClaim, self).finish(new, result, *told)
            except OutcomeUnknown:
                unknown = True
                raise
            except (Fenced, LeaseLost):
                if not (unknown and await self._has_ended(new)):
                    raise
                self.ended = True

        await through_outages(once, self._lease, clock_of(self._store))

    async def _has_ended(self, new: State) -> bool:
        """Tell whether a try whose answer was lost did end it: nobody else ends it so while we hold the claim."""
        status = await self._store.get(self._keys.agent(self.agent, "status"))
        return status is not None and new in FINAL and status.value == str(new).encode()
