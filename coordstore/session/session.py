"""One orchestration in a store: create it, assign attempts, claim them, end them; each move one transaction.

The orchestrator writes assignments and reads states, workers claim and report; neither calls the other. Every
write of a worker is fenced by its claim, every write of the orchestrator by its leadership, and a state and the
event that tells of it are one transaction.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from coordstore.errors import Conflict, CoordError, InvalidArgument
from coordstore.model import Append, Check, Delete, Put
from coordstore.session import events
from coordstore.session.claim import Claim
from coordstore.session.keys import SESSION_STREAM, SessionKeys, agent_name
from coordstore.session.states import FINAL, State, check_transition
from coordstore.session.view import SessionView

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from coordstore.model import HasId
    from coordstore.session.view import Attempt, Task
    from coordstore.store import CoordStore, Fence

__all__ = ["Session", "SessionExists", "now_text", "sessions"]

CHUNK = 50
"""Tasks written in one transaction."""


class SessionExists(CoordError, ValueError):
    """A session of that name was made from another plan."""


def now_text() -> str:
    """Return the wall time in RFC 3339, UTC, for people."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def as_value(data: Mapping[str, Any]) -> bytes:
    """Return an object as a stored value."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()


async def sessions(store: CoordStore) -> list[SessionView]:
    """Return all sessions of a store, oldest first, as they stood at one cut."""
    cut = await store.list("")
    grouped: dict[str, list[Any]] = {}
    for entry in cut.entries:
        grouped.setdefault(entry.key.partition("/")[0], []).append(entry)
    found = [
        SessionView.of(name, entries, cut.revision)
        for name, entries in grouped.items()
        if any(entry.key == f"{name}/meta" for entry in entries)
    ]
    return sorted(found, key=lambda view: view.entries[view.keys.meta].create_revision)


class Session:
    """One session of a store.

    Args:
        store: Where it lives.
        name: Its name: one key segment that also makes a branch name.
    """

    def __init__(self, store: CoordStore, name: str) -> None:
        self.store = store
        self.name = name
        self.keys = SessionKeys(name)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Session {self.name}>"

    async def create(self, meta: Mapping[str, Any], tasks: Mapping[str, Mapping[str, Any]]) -> bool:
        """Create the session, or find it made from the same plan; crash at any point and call again.

        Args:
            meta: The session's record; ``digest`` tells plans apart.
            tasks: Specifications by task id, in the plan's order.

        Returns:
            True when it was new.

        Raises:
            SessionExists: It was made from another plan.
        """
        record = {**meta, "order": list(tasks), "ready": False}
        try:
            await self.store.create(self.keys.meta, as_value(record))
            new = True
        except Conflict:
            new = False
        entry = await self.store.get(self.keys.meta)
        found = json.loads(entry.value) if entry else {}
        if entry is None or found.get("digest") != meta.get("digest"):
            message = (
                f"session {self.name!r} was made from another plan: choose another name, or resume it with its own plan"
            )
            raise SessionExists(message)
        if not found.get("ready"):
            await self._write_tasks(tasks)
            await self.store.put(self.keys.meta, as_value({**found, "ready": True}), expect=entry.revision)
        return new

    async def _write_tasks(self, tasks: Mapping[str, Mapping[str, Any]]) -> None:
        rows = list(tasks.items())
        for at in range(0, len(rows), CHUNK):
            await self.store.transact(
                [Put(self.keys.task(task), as_value(spec)) for task, spec in rows[at : at + CHUNK]]
            )

    async def view(self) -> SessionView:
        """Return the session as it stands."""
        cut = await self.store.list(self.name)
        return SessionView.of(self.name, cut.entries, cut.revision)

    async def views(self) -> AsyncGenerator[SessionView]:
        """Yield the session now and after every change, always the same object; close it with `aclosing`."""
        view = SessionView(self.name)
        async with aclosing(self.store.watch(self.name)) as batches:
            async for batch in batches:
                view.apply(batch)
                if batch.complete:
                    yield view

    # --- the orchestrator's moves -----------------------------------------------------------------------

    async def assign(self, task: Task, base: str, *, fence: Fence | None = None, hint: str | None = None) -> int:
        """Make the task's next attempt, queue it, and return the revision.

        Args:
            task: As the view shows it.
            base: The commit to start from.
            fence: The orchestrator's leadership.
            hint: What to tell this attempt beyond the prompt.

        Raises:
            InvalidArgument: An attempt of it still lives.
            Conflict: Somebody else made the attempt, or changed the one before.
            Fenced: The orchestrator no longer leads.
        """
        agent, checks = self._next(task)
        body = {"task": task.id, "base": base, "hint": hint}
        status = self.keys.agent(agent, "status")
        writes = [
            Put(status, b"pending"),
            Put(self.keys.agent(agent, "assignment"), as_value(body)),
            Put(self.keys.queued(tuple(task.spec.get("labels", ())), agent), b""),
        ]
        told = events.Assigned(task=task.id, attempt=int(agent.rpartition(".")[2]), base=base, hint=hint)
        return await self.store.transact(writes, checks, [self.event(agent, told)], fence)

    async def cancel_unstarted(
        self, task: Task, reason: str, *, code: str = "cancelled", fence: Fence | None = None
    ) -> int:
        """Cancel a task without a living attempt, by one that is cancelled from the start; return the revision."""
        agent, checks = self._next(task)
        ended = now_text()
        writes = [
            Put(self.keys.agent(agent, "status"), b"cancelled"),
            Put(self.keys.agent(agent, "ended"), ended.encode()),
            Put(self.keys.agent(agent, "result"), as_value({"reason": reason, "code": code})),
        ]
        told = events.StateChanged(old="pending", new="cancelled", reason=reason)
        return await self.store.transact(writes, checks, [self.event(agent, told)], fence)

    async def end(self, attempt: Attempt, new: State, result: Mapping[str, Any], *, fence: Fence | None = None) -> int:
        """End an attempt from outside: cancel a pending one, fail or cancel a lost one; return the revision.

        Raises:
            InvalidTransition: Its state does not allow it.
            InvalidArgument: It runs and its worker holds the claim: request a cancellation instead.
            Conflict: It changed meanwhile.
        """
        check_transition(attempt.agent, attempt.state, new)
        if attempt.state is State.RUNNING and not attempt.lost:
            message = f"{attempt.agent} is run by a living worker: request_cancel() asks it to stop"
            raise InvalidArgument(message)
        checks = [
            Check(self.keys.agent(attempt.agent, "status"), revision=attempt.entries["status"].revision),
            Check(self.keys.agent(attempt.agent, "claim"), revision=0),
        ]
        writes: list[Put | Delete] = [
            Put(self.keys.agent(attempt.agent, "status"), str(new).encode()),
            Put(self.keys.agent(attempt.agent, "ended"), now_text().encode()),
            Put(self.keys.agent(attempt.agent, "result"), as_value(result)),
        ]
        if attempt.state is State.PENDING:
            writes.append(Delete(await self._queue_key(attempt)))
        told = events.StateChanged(old=str(attempt.state), new=str(new), reason=result.get("reason"))
        return await self.store.transact(writes, checks, [self.event(attempt.agent, told)], fence)

    async def request_cancel(self, agent: str, reason: str) -> None:
        """Ask the worker that runs an attempt to stop it; the worker ends it as cancelled."""
        status = await self.store.get(self.keys.agent(agent, "status"))
        checks = [Check(status.key, revision=status.revision)] if status else []
        await self.store.transact([Put(self.keys.agent(agent, "cancel"), reason.encode())], checks)

    async def drop_claim(self, attempt: Attempt) -> None:
        """Remove the claim of a worker that is known to be dead, so that the attempt counts as lost at once.

        Raises:
            Conflict: The claim is another one by now.
        """
        claim = attempt.entries["claim"]
        await self.store.delete(claim.key, expect=claim.revision)

    # --- the worker's moves -----------------------------------------------------------------------------

    async def claim(self, agent: str, labels: Sequence[str], holder: Mapping[str, Any], lease: HasId) -> Claim:
        """Claim a queued attempt in one transaction: out of the queue, running, and ours.

        Args:
            agent: The attempt.
            labels: Its task's labels.
            holder: Who claims: host, boot id, pid, start time; for people and for a take-over on the same host.
            lease: The worker's lease.

        Raises:
            Conflict: Another worker was faster, or it was cancelled.
            LeaseLost: The worker's lease has ended.
        """
        queued, status = await asyncio.gather(
            self.store.get(self.keys.queued(tuple(labels), agent)),
            self.store.get(self.keys.agent(agent, "status")),
        )
        if queued is None or status is None or status.value != b"pending":
            message = f"{agent} is not waiting any more: it was claimed or cancelled"
            raise Conflict(message, revisions={self.keys.agent(agent, "status"): status.revision if status else 0})
        claim = self.keys.agent(agent, "claim")
        started = now_text()
        writes: list[Put | Delete] = [
            Delete(queued.key),
            Put(status.key, b"running"),
            Put(claim, as_value(holder), lease),
            Put(self.keys.agent(agent, "host"), str(holder.get("host", "")).encode()),
            Put(self.keys.agent(agent, "started"), started.encode()),
        ]
        checks = [
            Check(queued.key, revision=queued.revision),
            Check(status.key, revision=status.revision),
            Check(claim, revision=0),
        ]
        told = events.StateChanged(old="pending", new="running")
        revision = await self.store.transact(writes, checks, [self.event(agent, told)])
        return Claim(self.store, self.keys, agent, revision)

    # --- events -----------------------------------------------------------------------------------------

    def event(self, agent: str | None, event: events.Event) -> Append:
        """Return an event as an append for a transaction; agent None: it concerns the session."""
        return Append(self.keys.stream(agent or SESSION_STREAM), events.encode(event))

    async def delete(self) -> None:
        """Remove all of the session, keys and streams.

        Raises:
            InvalidArgument: An orchestrator leads it.
        """
        view = await self.view()
        if view.leader:
            message = (
                f"session {self.name!r} is led by {view.leader.get('host')}:{view.leader.get('pid')}: stop that first"
            )
            raise InvalidArgument(message)
        for stream in await self.store.heads(self.keys.events):
            await self.store.drop(stream)
        await self.store.delete_prefix(self.name)

    def _next(self, task: Task) -> tuple[str, list[Check]]:
        latest = task.latest
        if latest is not None and latest.state not in FINAL:
            message = f"task {task.id} has a living attempt, {latest.agent}: end that first"
            raise InvalidArgument(message)
        agent = agent_name(task.id, latest.number + 1 if latest else 1)
        checks = [Check(self.keys.agent(agent, "status"), revision=0)]
        if latest is not None:
            before = latest.entries["status"]
            checks.append(Check(before.key, revision=before.revision))
        return agent, checks

    async def _queue_key(self, attempt: Attempt) -> str:
        spec = await self.store.get(self.keys.task(attempt.task))
        labels = json.loads(spec.value).get("labels", ()) if spec else ()
        return self.keys.queued(tuple(labels), attempt.agent)
