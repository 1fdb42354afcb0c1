"""One orchestration in a store: create it, assign attempts, claim them, end them; each move one transaction.

The orchestrator writes assignments and reads states, workers claim and report; neither calls the other. Every
write of a worker is fenced by its claim, every write of the orchestrator by its leadership, and a state and the
event that tells of it are one transaction.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from coordstore.errors import Conflict, CoordError, InvalidArgument, InvalidKey, InvalidTransition
from coordstore.model import Append, Check, Delete, Put, Transaction
from coordstore.names import VALUE_MAX
from coordstore.session import events
from coordstore.session.claim import Claim
from coordstore.session.keys import SESSION_STREAM, SessionKeys, agent_name, is_task
from coordstore.session.states import FINAL, State, check_transition
from coordstore.session.task import Attempt
from coordstore.session.values import as_object, as_text, as_value, now_text, strings
from coordstore.session.view import SessionView

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping, Sequence

    from coordstore.model import Entry, HasId
    from coordstore.session.task import Task
    from coordstore.store import CoordStore, Fence

__all__ = ["Session", "SessionExists", "as_value", "now_text"]

CHUNK = 50
"""Tasks written in one transaction, at most; fewer when they are long."""


class SessionExists(CoordError, ValueError):
    """A session of that name was made from another plan."""

    hint: ClassVar[str] = "Choose another --session name, or run the plan that the session was made from."


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
            InvalidKey, TooLarge: A task's id or specification is not to be stored; nothing was created.
        """
        specs = list(self._specifications(tasks))
        record = {**meta, "order": list(tasks), "ready": False}
        new = False
        while True:
            try:
                await self.store.create(self.keys.meta, as_value(record))
                new = True
            except Conflict:
                pass
            entry = await self.store.get(self.keys.meta)
            if entry is None:
                continue
            try:
                await self._complete(entry, meta.get("digest"), specs)
            except Conflict:
                continue
            return new

    def _specifications(self, tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[Put]:
        """Yield the write of each task, once it is sure that a store can take it."""
        for task, spec in tasks.items():
            if not is_task(task):
                message = f"{task!r} is no task id: up to 40 characters [a-z0-9-], beginning with a letter or digit"
                raise InvalidKey(message)
            write = Put(self.keys.task(task), as_value(spec))
            Transaction.of([write])
            yield write

    async def _complete(self, meta: Entry, digest: object, specs: Sequence[Put]) -> None:
        """Write what is missing of a session whose record is there.

        Several may do so at once: each write checks that the session is still as it was found, so that none
        touches one that somebody else has completed.
        """
        found = as_object(meta)
        if found.get("digest") != digest:
            message = (
                f"session {self.name!r} was made from another plan: choose another name, or resume it with its own plan"
            )
            raise SessionExists(message)
        if found.get("ready"):
            return
        for writes in _chunks(specs):
            await self.store.transact(writes, [Check(meta.key, revision=meta.revision)])
        await self.store.put(meta.key, as_value({**found, "ready": True}), expect=meta.revision)

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

    async def assign(
        self, task: Task, base: str, *, fence: Fence | None = None, hint: str | None = None, other: int = 0
    ) -> int:
        """Make the task's next attempt, queue it, and return the revision.

        Args:
            task: As the view shows it.
            base: The commit to start from.
            fence: The orchestrator's leadership.
            hint: What to tell this attempt beyond the prompt.
            other: How many agents of the task's fall-back chain to pass over.

        Raises:
            InvalidArgument: An attempt of it still lives.
            Conflict: Somebody else made the attempt, or changed the one before.
            Fenced: The orchestrator no longer leads.
        """
        agent, checks = self._next(task)
        body = {"task": task.id, "base": base, "hint": hint, **({"other": other} if other else {})}
        status = self.keys.agent(agent, "status")
        writes = [
            Put(status, b"pending"),
            Put(self.keys.agent(agent, "assignment"), as_value(body)),
            Put(self.keys.queued(task.labels, agent), b""),
        ]
        told = events.Assigned(task=task.id, attempt=int(agent.rpartition(".")[2]), base=base, hint=hint)
        return await self.store.transact(writes, checks, [self.event(agent, told)], fence)

    async def add_task(
        self, view: SessionView, task: str, spec: Mapping[str, Any], *, fence: Fence | None = None
    ) -> int:
        """Add a task to the session, behind all others, and return the revision.

        Args:
            view: The session as it was when that was decided.
            task: Its id.
            spec: Its specification.
            fence: The orchestrator's leadership.

        Raises:
            Conflict: There is such a task, or the session's record changed meanwhile.
            Fenced: The orchestrator no longer leads.
        """
        meta = view.entries[self.keys.meta]
        (write,) = self._specifications({task: spec})
        record = {**view.meta, "order": [*strings(view.meta.get("order")), task]}
        checks = [Check(meta.key, revision=meta.revision), Check(write.key, revision=0)]
        told = self.event(None, events.Note(text=f"task {task} was added: {spec.get('name')}"))
        return await self.store.transact([write, Put(meta.key, as_value(record))], checks, [told], fence)

    async def cancel_unstarted(
        self, task: Task, reason: str, *, code: str = "cancelled", fence: Fence | None = None
    ) -> int:
        """Cancel a task without a living attempt, by one that is cancelled from the start; return the revision."""
        agent, checks = self._next(task)
        writes = [
            Put(self.keys.agent(agent, "status"), b"cancelled"),
            Put(self.keys.agent(agent, "ended"), as_text(now_text())),
            Put(self.keys.agent(agent, "result"), as_value({"reason": reason, "code": code})),
        ]
        told = events.StateChanged(old="pending", new="cancelled", reason=reason)
        return await self.store.transact(writes, checks, [self.event(agent, told)], fence)

    async def end(self, attempt: Attempt, new: State, result: Mapping[str, Any], *, fence: Fence | None = None) -> int:
        """End an attempt from outside: cancel a pending one, fail or cancel a lost one; return the revision.

        Raises:
            InvalidTransition: Its state does not allow it; or `new` is one that only its worker can say.
            InvalidArgument: It runs and its worker holds the claim: request a cancellation instead.
            Conflict: It changed meanwhile.
        """
        check_transition(attempt.agent, attempt.state, new)
        if new in (State.RUNNING, State.COMPLETED):
            message = (
                f"{attempt.agent} cannot be made {new} from outside: only the worker that holds its claim can say so"
            )
            raise InvalidTransition(message)
        if attempt.state is State.RUNNING and not attempt.lost:
            message = f"{attempt.agent} is run by a living worker: request_cancel() asks it to stop"
            raise InvalidArgument(message)
        checks = [
            Check(self.keys.agent(attempt.agent, "status"), revision=attempt.entries["status"].revision),
            Check(self.keys.agent(attempt.agent, "claim"), revision=0),
        ]
        writes: list[Put | Delete] = [
            Put(self.keys.agent(attempt.agent, "status"), as_text(new)),
            Put(self.keys.agent(attempt.agent, "ended"), as_text(now_text())),
            Put(self.keys.agent(attempt.agent, "result"), as_value(result)),
        ]
        if attempt.state is State.PENDING:
            writes.append(Delete(await self._queue_key(attempt)))
        told = events.StateChanged(old=str(attempt.state), new=str(new), reason=result.get("reason"))
        return await self.store.transact(writes, checks, [self.event(attempt.agent, told)], fence)

    async def request_cancel(self, agent: str, reason: str) -> None:
        """Ask the worker that runs an attempt to stop it; the worker ends it as cancelled.

        Raises:
            InvalidArgument: There is no such attempt.
            InvalidTransition: It has ended.
            Conflict: Its state changed meanwhile.
        """
        status = await self.store.get(self.keys.agent(agent, "status"))
        if status is None:
            message = f"session {self.name} has no attempt {agent}: nothing to cancel"
            raise InvalidArgument(message)
        check_transition(agent, Attempt(agent, {"status": status}).state, State.CANCELLED)
        checks = [Check(status.key, revision=status.revision)]
        await self.store.transact([Put(self.keys.agent(agent, "cancel"), as_text(reason))], checks)

    async def drop_claim(self, attempt: Attempt, *, fence: Fence | None = None) -> None:
        """Remove the claim of a worker that is known to be dead, so that the attempt counts as lost at once.

        Of an attempt without a claim: nothing.

        Raises:
            Conflict: The claim is another one by now.
            Fenced: The orchestrator no longer leads.
        """
        claim = attempt.entries.get("claim")
        if claim is not None:
            await self.store.delete(claim.key, expect=claim.revision, fence=fence)

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
        writes: list[Put | Delete] = [
            Delete(queued.key),
            Put(status.key, b"running"),
            Put(claim, as_value(holder), lease),
            Put(self.keys.agent(agent, "host"), as_text(holder.get("host", ""))),
            Put(self.keys.agent(agent, "started"), as_text(now_text())),
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
        """Remove all of the session, keys and streams; cut short, it is still there to be deleted again.

        Raises:
            InvalidArgument: An orchestrator leads it.
        """
        view = await self.view()
        if view.leader_entry is not None:
            message = (
                f"session {self.name!r} is led by {view.leader.get('host')}:{view.leader.get('pid')}: stop that first"
            )
            raise InvalidArgument(message)
        await self._drop_streams()
        await self.store.delete_prefix(self.name)
        await self._drop_streams()  # what a worker said before it found its claim gone

    async def _drop_streams(self) -> None:
        for stream in await self.store.heads(self.keys.events):
            await self.store.drop(stream)

    def _next(self, task: Task) -> tuple[str, list[Check]]:
        latest = task.latest
        if latest is not None and latest.state not in FINAL:
            message = f"task {task.id} has a living attempt, {latest.agent}: end that first"
            raise InvalidArgument(message)
        agent = agent_name(task.id, task.next_attempt)
        checks = [Check(self.keys.agent(agent, "status"), revision=0)]
        if latest is not None:
            before = latest.entries["status"]
            checks.append(Check(before.key, revision=before.revision))
        return agent, checks

    async def _queue_key(self, attempt: Attempt) -> str:
        spec = as_object(await self.store.get(self.keys.task(attempt.task)))
        return self.keys.queued(tuple(strings(spec.get("labels"))), attempt.agent)


def _chunks(writes: Iterable[Put]) -> Iterator[list[Put]]:
    """Yield the writes in portions that a transaction can take."""
    chunk: list[Put] = []
    size = 0
    for write in writes:
        if chunk and (len(chunk) == CHUNK or size + len(write.value) > VALUE_MAX):
            yield chunk
            chunk, size = [], 0
        chunk.append(write)
        size += len(write.value)
    if chunk:
        yield chunk
