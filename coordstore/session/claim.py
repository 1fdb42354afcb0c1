"""A worker's claim on one attempt: every write through it is fenced, so a former holder changes nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from coordstore.model import Append, Check, Delete, Put
from coordstore.session import events
from coordstore.session.states import State, check_transition

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.session.keys import SessionKeys
    from coordstore.store import CoordStore

__all__ = ["Claim"]


class Claim:
    """What a worker holds while it runs an attempt; made by `Session.claim`.

    Args:
        store: Where the session lives.
        keys: The session's names.
        agent: The attempt.
        token: The claim key's create revision.
    """

    def __init__(self, store: CoordStore, keys: SessionKeys, agent: str, token: int) -> None:
        self.agent = agent
        self.token = token
        self._store = store
        self._keys = keys

    def __repr__(self) -> str:
        """Show the attempt and the token."""
        return f"<Claim {self.agent} token={self.token}>"

    @property
    def fence(self) -> Check:
        """Return the fencing condition, for transactions of the caller's own."""
        return Check(self._keys.agent(self.agent, "claim"), create_revision=self.token)

    async def report(self, *told: events.Event, **values: object) -> None:
        """Write some of the attempt's bare values (`pid`, `step`, `branch` …) and events, in one transaction.

        Raises:
            Fenced: The claim is no longer ours: stop.
        """
        writes = [Put(self._keys.agent(self.agent, name), str(value).encode()) for name, value in values.items()]
        appends = [Append(self._keys.stream(self.agent), events.encode(event)) for event in told]
        await self._store.transact(writes, (), appends, self.fence)

    async def finish(self, new: State, result: Mapping[str, Any], *told: events.Event) -> None:
        """End the attempt: status, result, event and the end of the claim in one transaction.

        Raises:
            InvalidTransition: `new` is not a state a running attempt can end in.
            Fenced: The claim is no longer ours; the attempt was given to somebody else.
        """
        check_transition(self.agent, State.RUNNING, new)
        ended = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        writes: list[Put | Delete] = [
            Put(self._keys.agent(self.agent, "status"), str(new).encode()),
            Put(self._keys.agent(self.agent, "result"), json.dumps(result, ensure_ascii=False).encode()),
            Put(self._keys.agent(self.agent, "ended"), ended.encode()),
            Delete(self._keys.agent(self.agent, "claim")),
        ]
        changed = events.StateChanged(old="running", new=str(new), reason=result.get("reason"))
        appends = [Append(self._keys.stream(self.agent), events.encode(event)) for event in (*told, changed)]
        await self._store.transact(writes, (), appends, self.fence)
