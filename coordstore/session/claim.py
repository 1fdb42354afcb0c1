"""A worker's claim on one attempt: every write through it is fenced, so a former holder changes nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coordstore.errors import InvalidArgument
from coordstore.model import Append, Check, Delete, Put
from coordstore.session import events
from coordstore.session.states import State, check_transition
from coordstore.session.values import as_text, as_value, now_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coordstore.session.keys import SessionKeys
    from coordstore.store import CoordStore

__all__ = ["Claim"]

OWNED = frozenset({"assignment", "cancel", "claim", "ended", "result", "started", "status", "subtasks", "verdict"})
"""Values that only the moves of the state machine write."""
AT_ONCE = 32
"""Events in one transaction, at most."""


class Claim:
    """What a worker holds while it runs an attempt; made by `Session.claim`.

    Args:
        store: Where the session lives.
        keys: The session's names.
        agent: The attempt.
        token: The claim key's create revision.

    Attributes:
        ended: Whether `finish` was answered.
    """

    def __init__(self, store: CoordStore, keys: SessionKeys, agent: str, token: int) -> None:
        self.agent = agent
        self.token = token
        self.ended = False
        self._store = store
        self._keys = keys

    def __repr__(self) -> str:
        """Show the attempt and the token."""
        return f"<Claim {self.agent} token={self.token}>"

    @property
    def fence(self) -> Check:
        """Return the fencing condition, for transactions of the caller's own."""
        return Check(self._keys.agent(self.agent, "claim"), create_revision=self.token)

    @property
    def store(self) -> CoordStore:
        """Return where the session lives."""
        return self._store

    @property
    def session(self) -> str:
        """Return the session's name."""
        return self._keys.session

    def append(self, event: events.Event) -> Append:
        """Return an event of the attempt as an append for a transaction."""
        return Append(self._keys.stream(self.agent), events.encode(event))

    async def report(self, *told: events.Event, **values: object) -> None:
        """Write some of the attempt's bare values (`pid`, `step`, `branch` …) and events, in one transaction.

        Raises:
            Fenced: The claim is no longer ours: stop.
            InvalidArgument: A value is one that the state machine owns.
        """
        owned = sorted(OWNED & values.keys())
        if owned:
            message = f"{self.agent}: {', '.join(owned)} changes by claim() and finish() only"
            raise InvalidArgument(message)
        writes = [Put(self._keys.agent(self.agent, name), as_text(value)) for name, value in values.items()]
        await self._store.transact(writes, (), self._appends(told), self.fence)

    async def finish(self, new: State, result: Mapping[str, Any], *told: events.Event) -> None:
        """End the attempt: status, result, event and the end of the claim in one transaction.

        Many events go ahead of it in transactions of their own.

        Raises:
            InvalidTransition: `new` is not a state a running attempt can end in.
            Fenced: The claim is no longer ours; the attempt was given to somebody else.
        """
        check_transition(self.agent, State.RUNNING, new)
        while len(told) > AT_ONCE:
            await self.report(*told[:AT_ONCE])
            told = told[AT_ONCE:]
        writes: list[Put | Delete] = [
            Put(self._keys.agent(self.agent, "status"), str(new).encode()),
            Put(self._keys.agent(self.agent, "result"), as_value(result)),
            Put(self._keys.agent(self.agent, "ended"), as_text(now_text())),
            Delete(self._keys.agent(self.agent, "claim")),
        ]
        changed = events.StateChanged(old="running", new=str(new), reason=result.get("reason"))
        await self._store.transact(writes, (), self._appends((*told, changed)), self.fence)
        self.ended = True

    def _appends(self, told: Sequence[events.Event]) -> list[Append]:
        return [self.append(event) for event in told]
