"""MemoryStore: the reference implementation, the pure engine with a clock and a lease table around it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coordstore import engine
from coordstore.model import Committed, LeaseInfo, StoreInfo, Transaction
from coordstore.store import Feeds, StoreBase, SystemClock
from coordstore.store.feeds import ChangePage, FollowStart, RecordPage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from coordstore.model import Batch, Entry, Listing, Record
    from coordstore.store import Clock
    from coordstore.url import StoreURL

__all__ = ["Memory", "MemoryStore"]

FORMAT = 1


@dataclass(slots=True)
class _Granted:
    ttl: int
    deadline: float


class Memory:
    """What several `MemoryStore` handles share: the state, the lease table and who waits for a change.

    Args:
        clock: Virtual (`coordstore.testing.Clock`) or the system's when None.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.state = engine.State()
        self.store_id = secrets.token_hex(16)
        self.leases: dict[int, _Granted] = {}
        self._due: list[tuple[float, int]] = []
        """Each lease by a deadline that it had, never later than the one it has: what is due is found without looking
        at all of them."""
        self._ids = itertools.count(secrets.randbits(32) + 1)
        self._waiting: dict[asyncio.Future[None], None] = {}  # in order, so that a seed reproduces

    def grant(self, ttl: int) -> int:
        """Add a lease and return its id."""
        lease = next(self._ids)
        self.leases[lease] = _Granted(ttl, 0)
        self.set_deadline(lease, self.clock.now() + ttl)
        return lease

    def set_deadline(self, lease: int, deadline: float) -> None:
        """Let a lease end at another time, on the clock."""
        self.leases[lease].deadline = deadline
        heapq.heappush(self._due, (deadline, lease))
        self._wake()

    def sweep(self) -> None:
        """Commit the expiries that are due, each at a revision of its own."""
        now, due = self.clock.now(), []
        while self._due and self._due[0][0] <= now:
            _, lease = heapq.heappop(self._due)
            granted = self.leases.get(lease)
            if granted is None or lease in due:
                continue
            if granted.deadline <= now:
                due.append(lease)
            else:
                heapq.heappush(self._due, (granted.deadline, lease))
        if due:
            self.end(due)

    def end(self, leases: list[int]) -> None:
        """End leases and commit what that does to keys."""
        for lease in leases:
            self.leases.pop(lease, None)
        for commit in engine.decide_end_leases(self.state, leases):
            self.evolve(commit)

    def evolve(self, commit: engine.Commit) -> Committed:
        """Take a commit in and wake whoever waits for one."""
        if commit.revision == self.state.revision:
            return Committed(commit.revision)
        self.state.evolve(commit)
        self._wake()
        heads = {record.stream: record.sequence for record in commit.records}
        return Committed(commit.revision, sum(change.entry is None for change in commit.changes), heads)

    async def wait(self) -> None:
        """Return at the next commit, grant or close, or when a lease falls due."""
        told: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[told] = None
        alarm = asyncio.ensure_future(self.clock.sleep(self._due[0][0] - self.clock.now())) if self._due else None
        try:
            await asyncio.wait([told] if alarm is None else [told, alarm], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._waiting.pop(told, None)
            if alarm is not None:
                alarm.cancel()

    def _wake(self) -> None:
        for told in list(self._waiting):
            if not told.done():
                told.set_result(None)

    def wake(self) -> None:
        """Wake whoever waits, without a commit: a handle was closed."""
        self._wake()


class MemoryStore(StoreBase):
    """A store in this process's memory that passes the same suite as the others.

    Args:
        memory: What to share with other handles; a new one when None.
        clock: For a new memory, its clock; virtual time with `coordstore.testing.Clock`.
    """

    def __init__(self, memory: Memory | None = None, clock: Clock | None = None) -> None:
        self.memory = memory or Memory(clock)
        super().__init__(self.memory.clock)
        self._feeds = Feeds(self)

    async def do_close(self) -> None:
        """Wake the watchers, so that they see it."""
        self.memory.wake()

    async def do_info(self) -> StoreInfo:
        """Return what it is."""
        state = self.memory.state
        return StoreInfo(self.memory.store_id, "memory", "memory:", state.revision, state.floor, "none", FORMAT)

    async def do_get(self, key: str) -> Entry | None:
        """Return the entry."""
        return self._swept().get(key)

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Return a cut."""
        return self._swept().list(prefix, limit, after, keys_only)

    async def do_transact(self, txn: Transaction) -> Committed:
        """Decide and evolve, with a turn of the event loop before, as a backend with I/O has."""
        await asyncio.sleep(0)
        return self.memory.evolve(engine.decide(self._swept(), txn, self.memory.leases.keys()))

    async def do_delete_prefix(self, prefix: str) -> int:
        """Remove keys."""
        return self.memory.evolve(engine.decide_delete_prefix(self._swept(), prefix)).deleted

    def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Deliver changes."""
        return self._feeds.watch(prefix, since)

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Return records."""
        return self.memory.state.read(stream, after, limit)

    def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Deliver records."""
        return self._feeds.follow(prefix, after)

    async def do_heads(self, prefix: str) -> dict[str, int]:
        """Return heads."""
        return {name: head for name, (_, head) in self.memory.state.spans(prefix).items()}

    async def do_trim(self, stream: str, upto: int) -> None:
        """Trim."""
        self.memory.evolve(engine.decide_trim(self._swept(), stream, upto))

    async def do_drop(self, stream: str) -> None:
        """Drop."""
        self.memory.evolve(engine.decide_drop(self._swept(), stream))

    async def do_grant(self, ttl: int) -> int:
        """Grant."""
        return self.memory.grant(ttl)

    async def lease_renew(self, lease: int) -> None:
        """Renew, or say that it has ended."""
        self.ensure_open()
        self.memory.sweep()
        granted = self.memory.leases.get(lease)
        if granted is None:
            raise engine.lease_lost(lease)
        granted.deadline = self.clock.now() + granted.ttl

    async def lease_revoke(self, lease: int) -> None:
        """End a lease."""
        self.ensure_open()
        self.memory.end([lease])

    async def do_leases(self) -> list[LeaseInfo]:
        """Return the live leases."""
        state, now = self._swept(), self.clock.now()
        return [
            LeaseInfo(lease, granted.ttl, granted.deadline - now, state.leased(lease))
            for lease, granted in sorted(self.memory.leases.items())
        ]

    async def do_compact(self, keep: int) -> int:
        """Forget history."""
        return self.memory.state.compact(keep)

    # --- what the feeds ask -----------------------------------------------------------------------------

    async def changes_since(self, prefix: str, since: int, limit: int) -> ChangePage:
        """Return a page of changes."""
        self.ensure_open()
        state = self._swept()
        batches, upto = state.changes(prefix, since, limit)
        return ChangePage(list(batches), upto, state.floor, more=upto < state.revision)

    async def follow_start(self, prefix: str, after: Mapping[str, int]) -> FollowStart:
        """Return where a follow begins."""
        self.ensure_open()
        state = self.memory.state
        spans = state.spans(prefix)
        wanted = ((name, max(after.get(name, 0) + 1, first)) for name, (first, _) in spans.items())
        revisions = [state.revision_of(name, sequence) for name, sequence in wanted]
        return FollowStart(spans, state.revision, [revision for revision in revisions if revision is not None])

    async def records_since(self, prefix: str, since: int, limit: int) -> RecordPage:
        """Return a page of records."""
        self.ensure_open()
        records, upto = self.memory.state.records(prefix, since, limit)
        return RecordPage(records, upto, more=upto < self.memory.state.revision)

    async def changed(self, revision: int) -> None:
        """Wait for a commit above a revision."""
        while self._swept().revision <= revision:
            await self.memory.wait()
            self.ensure_open()

    def _swept(self) -> engine.State:
        self.memory.sweep()
        return self.memory.state


_named: dict[str, Memory] = {}


async def open_memory(url: StoreURL) -> MemoryStore:
    """Open ``memory:`` (a new one each time) or ``memory:NAME`` (shared within this process)."""
    url.check_options(())
    return MemoryStore(_named.setdefault(url.rest, Memory()) if url.rest else None)
