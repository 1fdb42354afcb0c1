"""Scopes that a session reserves in the store, so that two sessions on one repository never write the same files.

A reservation is one key, ``@repo/<repository>/scopes/<session>``, on the session's lease. A transaction can check
keys but no prefix, so every reservation also checks and moves ``@repo/<repository>/guard``: of two that looked at
the same moment one is refused and looks again. What is read may be written by others: a session starts from a
commit, and nothing changes under it.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordstore.errors import Busy, Conflict
from coordstore.model import Check, Put
from coordstore.recipes.waiting import by_age, changed, check_wait, first
from coordstore.session.values import as_object, as_value, now_text
from coordstore.store import clock_of
from coordstore_orchestrator.plan.errors import PlanError, Problem, plain, shown
from coordstore_orchestrator.plan.pattern import Pattern, meet
from coordstore_orchestrator.plan.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from coordstore.model import Change, Entry
    from coordstore.store import CoordStore, Lease

__all__ = ["Collision", "Reservations", "ScopesTaken"]

RECORD_BYTES_MAX: Final = 900_000
"""Bytes of one session's reservation: it has to fit into one value of a store."""
SHOWN: Final = 10


class ScopesTaken(Busy):
    """Another session on this repository may write the same files; the message names session, tasks and paths."""

    exit_code = 2


class Collision(NamedTuple):
    """Where a session's scope meets that of another one."""

    task: str
    pattern: str
    session: str
    other_task: str
    other_pattern: str
    path: str

    def __str__(self) -> str:
        """Return it on one line."""
        return plain(
            f"task {self.task} writes {shown(self.path)} (by {shown(self.pattern)}), "
            f"which task {self.other_task} of session {self.session} may write (by {shown(self.other_pattern)})"
        )


class Reservations:
    """The reservations of one repository; its users may sit on any hosts.

    Args:
        store: Where they live.
        repository: A name of the repository that is the same on every host: one segment of a key.
        is_dead: Tells of a holder's record whether that process is known to be gone; its reservation then counts
            for nothing, and otherwise until its lease ends.
    """

    def __init__(
        self,
        store: CoordStore,
        repository: str,
        is_dead: Callable[[Mapping[str, Any]], bool] = lambda _holder: False,
    ) -> None:
        self._store = store
        self._clock = clock_of(store)
        self._is_dead = is_dead
        self.prefix = f"@repo/{repository}"

    def __repr__(self) -> str:
        """Show whose reservations."""
        return f"Reservations({self.prefix})"

    def key(self, session: str) -> str:
        """Return where a session's reservation lies."""
        return f"{self.prefix}/scopes/{session}"

    async def reserve(
        self,
        session: str,
        writes: Mapping[str, Sequence[str]],
        lease: Lease,
        *,
        holder: Mapping[str, Any] | None = None,
        fence: Check | None = None,
        wait: float | None = 0,
    ) -> str | None:
        """Reserve the write scopes of a session's tasks, in the place of those it had.

        Args:
            session: Its name.
            writes: Patterns by task.
            lease: What the reservation hangs on: it ends with it.
            holder: Who we are, as for `is_dead`.
            fence: What proves that we may speak for the session.
            wait: Seconds to wait for others at most; 0: not at all; None: as long as it takes.

        Returns:
            The key, or None when the session writes nothing and so needs none.

        Raises:
            ScopesTaken: Another session may write the same files, and did not end in time.
            PlanError: The patterns are more than fit into one value.
            CoordError: As `CoordStore.transact`. Cancelled, it may be reserved, until the lease ends.
        """
        check_wait(wait)
        record = _record(writes, holder or {})
        if not any(writes.values()):
            await self.release(session, fence=fence)
            return None
        until = None if wait is None else self._clock.now() + wait
        while True:
            taken, revision = await self._try(session, writes, record, lease, fence)
            if not taken:
                return self.key(session)
            if until is not None and self._clock.now() >= until:
                raise _refusal(taken)
            await self._change(taken[0].session, revision, lease, until)

    async def release(self, session: str, *, fence: Check | None = None) -> bool:
        """Give a session's reservation back; tell whether there was one."""
        return await self._store.delete(self.key(session), fence=fence)

    async def held(self) -> dict[str, dict[str, list[str]]]:
        """Return the patterns that are reserved, by session and task."""
        listing = await self._store.list(f"{self.prefix}/scopes/")
        return {_session(entry): as_object(entry).get("writes") or {} for entry in listing.entries}

    async def look(self, session: str, writes: Mapping[str, Sequence[str]]) -> None:
        """Refuse a session that would collide now, without reserving anything.

        Raises:
            ScopesTaken: Another session may write the same files.
        """
        listing = await self._store.list(f"{self.prefix}/scopes/")
        if taken := list(self._meetings(session, writes, listing.entries)):
            raise _refusal(taken)

    async def _try(
        self,
        session: str,
        writes: Mapping[str, Sequence[str]],
        record: bytes,
        lease: Lease,
        fence: Check | None,
    ) -> tuple[list[Collision], int]:
        """Reserve, or return what stands against it and at which revision that was so."""
        guard = f"{self.prefix}/guard"
        while True:
            listing = await self._store.list(f"{self.prefix}/")
            entries = [entry for entry in listing.entries if entry.key != guard]
            against = list(self._meetings(session, writes, entries))
            if against:
                return against, listing.revision
            seen = next((entry.revision for entry in listing.entries if entry.key == guard), 0)
            moved = [Put(guard, session.encode()), Put(self.key(session), record, lease)]
            with suppress(Conflict):  # another session came at the same moment: look again
                await self._store.transact(moved, [Check(guard, revision=seen)], fence=fence)
                return [], listing.revision

    def _meetings(
        self, session: str, writes: Mapping[str, Sequence[str]], entries: Sequence[Entry]
    ) -> Iterator[Collision]:
        """Yield one collision for each task of ours and session of others that meet."""
        for entry in by_age(list(entries)):
            record = as_object(entry)
            if _session(entry) == session or self._is_dead(record.get("holder") or {}):
                continue
            theirs = {task: Scope.parse(patterns) for task, patterns in (record.get("writes") or {}).items()}
            owners = {pattern: task for task, scope in reversed(theirs.items()) for pattern in scope.patterns}
            whole = Scope(owners)
            for task, patterns in writes.items():
                for pattern in map(Pattern.parse, patterns):
                    other = whole.meeting(pattern)
                    path = meet(pattern, other) if other is not None else None
                    if other is not None and path is not None:
                        yield Collision(task, pattern.text, _session(entry), owners[other], other.text, path)
                        break

    async def _change(self, session: str, revision: int, lease: Lease, until: float | None) -> None:
        """Return when another reservation has changed or gone, or it is time; who loses the lease finds out next."""
        others = [self._clock.sleep(max(0.0, until - self._clock.now()))] if until is not None else []
        await first(changed(self._store, self.key(session), revision, _any), lease.wait_lost(), *others)


def _any(_change: Change) -> bool:
    return True


def _session(entry: Entry) -> str:
    return entry.key.rpartition("/")[2]


def _record(writes: Mapping[str, Sequence[str]], holder: Mapping[str, Any]) -> bytes:
    found = as_value(
        {
            "writes": {task: list(patterns) for task, patterns in writes.items() if patterns},
            "holder": dict(holder),
            "since": now_text(),
        }
    )
    if len(found) > RECORD_BYTES_MAX:
        what = f"take {len(found)} bytes and may take {RECORD_BYTES_MAX}, to be reserved against other sessions"
        raise PlanError.of([Problem("the write scopes of all tasks together", what, "name folders instead of files")])
    return found


def _refusal(taken: Sequence[Collision]) -> ScopesTaken:
    sessions = ", ".join(dict.fromkeys(each.session for each in taken))
    lines = [str(each) for each in taken[:SHOWN]]
    lines += [f"and {len(taken) - SHOWN} more"] if len(taken) > SHOWN else []
    lines += [f"wait for session {sessions} (`coord run --wait SECONDS`), end it, or give the tasks other files"]
    return ScopesTaken("\n".join(lines))
