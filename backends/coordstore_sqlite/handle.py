"""The handle on a SQLite store: which thread does what, and in which order things open and close.

- The *writer* connection writes batches; group commit stands before it.
- The *reader* connection does every read, beside the writer: WAL lets them.
- The *poller* connection asks for the revision while somebody watches; nobody watches: it does not exist.
- A thread of its own renews leases, so that no renewal waits for a sync of data.
"""

from __future__ import annotations

import asyncio
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar

from coordstore.errors import OutcomeUnknown, StoreClosed, Unavailable
from coordstore.hostkit import Batches, LeaseFile, Notifier, Outcome, StoreLock, Writing
from coordstore.hostkit.paths import check_file, prepare_directory, refuse_network
from coordstore.model import Committed, LeaseInfo, StoreInfo
from coordstore.store import Feeds, StoreBase
from coordstore_sqlite import reads, requests, schema
from coordstore_sqlite.connection import Connection, connect, to_the_end
from coordstore_sqlite.faults import translated
from coordstore_sqlite.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
    from pathlib import Path

    from coordstore.model import Batch, Entry, Listing, Record, Transaction
    from coordstore.store import Clock
    from coordstore.store.feeds import ChangePage, FollowStart, RecordPage

__all__ = ["SqliteStore"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_SWEEP_AGAIN: Final = 5.0
"""Seconds after which a reader tries again to end due leases when it could not."""
_ABILITIES: Final = frozenset(("persistent", "processes"))


class SqliteStore(StoreBase):
    """A store in one SQLite file; `open_sqlite` makes and starts it.

    Args:
        path: The database file.
        durability: ``full`` or ``process``.
        allow_network: Do not refuse a network file system.
        lock_wait: Seconds to wait for other writers.
        clock: What leases are counted on.
    """

    def __init__(
        self, path: Path, *, durability: str, allow_network: bool, lock_wait: float, clock: Clock | None = None
    ) -> None:
        super().__init__(clock)
        self.path = path
        self.store_id = ""
        self._durability = durability
        self._allow_network = allow_network
        self._lock = StoreLock(schema.beside(path, "-lock"), lock_wait)
        self._feeds = Feeds(self)
        self._batches: Batches[requests.Request, Committed] = Batches(self._write)
        self._notifier = Notifier(self._probe, self._until_due, self._lock.path, local=not allow_network)
        self._links: dict[str, Connection] = {}
        self._linking = asyncio.Lock()
        self._lease_thread = ThreadPoolExecutor(1, thread_name_prefix="coordstore-lease")
        self._leases: LeaseFile
        self._writer: Writer
        self._version = -1
        self._read_at = 0
        self._polled = 0
        self._next_due = 0.0
        self._no_sweep_before = 0.0

    def __repr__(self) -> str:
        """Show the file and what is under way."""
        state = "closed" if self.closed else f"{self._batches!r} {self._notifier!r}"
        return f"<SqliteStore {self.path} {state}>"

    # --- opening and closing ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store; cancelled: nothing stays open."""
        try:
            self._links["writer"] = await Connection.open(self._found)
        except BaseException:
            await self._free()
            raise

    async def do_close(self) -> None:
        """Fail who waits, finish the sealed batch, close everything."""
        message = "this store handle was closed: open the store again with open_store()"
        self._notifier.fail(StoreClosed(message))
        await to_the_end(self._end())

    async def _end(self) -> None:
        await self._batches.aclose()
        await self._notifier.aclose()
        async with self._linking:
            await self._unlink()
        await self._free()

    async def _unlink(self) -> None:
        # The writer is the last: what readers hold back is checkpointed when it goes.
        for name in ("poller", "reader", "writer"):
            link = self._links.pop(name, None)
            if link is not None:
                await link.aclose(self._lock)

    async def _free(self) -> None:
        if hasattr(self, "_leases"):
            await asyncio.get_running_loop().run_in_executor(self._lease_thread, self._leases.close)
        self._lease_thread.shutdown(wait=False)
        self._lock.close()

    def _found(self) -> sqlite3.Connection:
        """Find or create the database, look at everything about it, open it; blocks."""
        with translated(self.path):
            prepare_directory(self.path.parent)
            if not self._allow_network:
                refuse_network(self.path.parent, "sqlite")
            for suffix in ("-lock", "-leases", "-wal", "-shm"):
                check_file(schema.beside(self.path, suffix))
            if check_file(self.path) is None:
                with self._lock.held():
                    if check_file(self.path) is None:
                        schema.create(self.path)
            raw = connect(self.path, self._durability, writable=True)
            try:
                if schema.is_older(raw):
                    with self._lock.held():
                        schema.bring_up_to_date(raw)
                self._know(raw)
            except BaseException:
                raw.close()
                raise
            return raw

    def _know(self, raw: sqlite3.Connection) -> None:
        self.store_id = schema.check(raw, self.path)
        (mode,) = raw.execute("PRAGMA journal_mode").fetchone()
        if mode != "wal":
            with self._lock.held():
                raw.execute("PRAGMA journal_mode = WAL")
        found = self.path.stat()
        identity = (found.st_dev, found.st_ino, self.store_id)
        self._leases = LeaseFile(schema.beside(self.path, "-leases"), self.store_id, self.clock)
        self._writer = Writer(self.path, self._lock, self._leases, self.clock, self.counters, identity)

    def _again(self, *, writable: bool) -> sqlite3.Connection:
        """Open the database once more; blocks."""
        with translated(self.path):
            self._writer.check_file()
            raw = connect(self.path, self._durability, writable=writable)
            try:
                schema.check(raw, self.path)
            except BaseException:
                raw.close()
                raise
            return raw

    async def _link(self, name: str) -> Connection:
        link = self._links.get(name)
        # Cancelled while it opens: it is kept for the next one who asks.
        return link if link is not None else await to_the_end(self._connect(name))

    async def _connect(self, name: str) -> Connection:
        async with self._linking:
            self.ensure_open()
            if name not in self._links:
                self._links[name] = await Connection.open(lambda: self._again(writable=name == "writer"))
                self._version = -1
            return self._links[name]

    # --- writing ----------------------------------------------------------------------------------------

    async def _submit(self, request: requests.Request) -> Committed:
        return await self._batches.submit(request)

    async def _write(self, writing: Writing[requests.Request, Committed]) -> list[Outcome[Committed]]:
        if self._writer.poisoned:
            async with self._linking:
                await self._unlink()
                self._links["writer"] = await Connection.open(lambda: self._again(writable=True))
                self._writer.poisoned = False
            self.counters["reopened"] += 1
        answers = await self._links["writer"].run(self._writer.write, writing)
        self._notifier.moved(self._writer.seen)
        return answers

    def do_transact(self, txn: Transaction) -> Awaitable[Committed]:
        """Apply a transaction in the next batch."""
        return self._batches.submit(requests.Transact(txn), txn.size)

    async def do_delete_prefix(self, prefix: str) -> int:
        """Remove keys."""
        return (await self._submit(requests.DeletePrefix(prefix))).deleted

    async def do_trim(self, stream: str, upto: int) -> None:
        """Trim."""
        await self._submit(requests.Trim(stream, upto))

    async def do_drop(self, stream: str) -> None:
        """Drop."""
        await self._submit(requests.Drop(stream))

    async def do_compact(self, keep: int) -> int:
        """Raise the floor, then remove what is below it step by step."""
        floor = (await self._submit(requests.Compact(keep))).revision
        while (await self._submit(requests.Purge())).deleted:
            self.counters["purges"] += 1
        return floor

    # --- reading ----------------------------------------------------------------------------------------

    async def _read(
        self,
        function: Callable[Concatenate[reads.Cut, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Read in one cut, after ending the leases that are due."""
        self.counters["reads"] += 1
        sweep = self.clock.now() >= self._no_sweep_before

        def work(raw: sqlite3.Connection) -> tuple[bool, Any]:
            if sweep and self._leases.next_due() <= self.clock.now():
                return False, None
            return True, self._in_cut(raw, lambda at: function(at, *args, **kwargs))

        link = await self._link("reader")
        done, result = await link.run(work)
        if not done:
            await self._sweep()
            sweep = False
            done, result = await (await self._link("reader")).run(work)
        return result  # type: ignore[no-any-return]  # it is what the function returned

    def _in_cut(self, raw: sqlite3.Connection, function: Callable[[reads.Cut], Result]) -> Result:
        with translated(self.path):
            self._writer.check_file()
            seen = max(self._writer.seen, self._read_at)
            with reads.cut(raw) as at:
                self._writer.check_state(at.store_id, at.revision, seen)
                self._read_at = at.revision
                return function(at)

    async def _sweep(self) -> None:
        """End the leases that are due; when that cannot be done now, they stay until somebody can."""
        try:
            await self._submit(requests.Sweep())
        except StoreClosed:
            raise
        except Unavailable:
            # The writer has logged it; a log may block, and this is the loop.
            self._no_sweep_before = self.clock.now() + _SWEEP_AGAIN
            self.counters["sweeps_failed"] += 1

    async def do_info(self) -> StoreInfo:
        """Return what the store is."""
        revision, floor = await self._read(lambda at: (int(at.revision), int(at.floor)))
        details = {"path": str(self.path), "sqlite": sqlite3.sqlite_version}
        return StoreInfo(
            self.store_id,
            "sqlite",
            f"sqlite:{self.path}",
            revision,
            floor,
            self._durability,
            schema.FORMAT,
            _ABILITIES,
            details,
        )

    async def do_get(self, key: str) -> Entry | None:
        """Return the entry."""
        return await self._read(reads.entry, key)

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Return a cut."""
        return await self._read(reads.listing, prefix, limit, after, keys_only=keys_only)

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Return records."""
        return await self._read(reads.read, stream, after, limit)

    async def do_heads(self, prefix: str) -> dict[str, int]:
        """Return heads."""
        return await self._read(reads.heads, prefix)

    # --- leases -----------------------------------------------------------------------------------------

    async def _in_lease_thread(self, function: Callable[..., Result], *args: object) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._lease_thread, function, *args)

    async def do_grant(self, ttl: int) -> int:
        """Grant."""
        return await self._in_lease_thread(self._leases.grant, ttl)

    async def lease_renew(self, lease: int) -> None:
        """Renew, or say that it has ended."""
        self.ensure_open()
        self.counters["renewals"] += 1
        await self._in_lease_thread(self._leases.renew, lease)

    async def lease_revoke(self, lease: int) -> None:
        """End a lease and its keys."""
        self.ensure_open()
        request = requests.Revoke(lease)
        try:
            await self._submit(request)
        except Unavailable as error:
            if not request.marked:
                raise
            message = (
                f"lease {lease} has ended, but its keys are still there ({error}); a later transaction removes them"
            )
            raise OutcomeUnknown(message) from error

    async def do_leases(self) -> list[LeaseInfo]:
        """Return the live leases with their keys."""
        keys = await self._read(reads.leased)
        slots = await self._in_lease_thread(self._leases.live)
        now = self.clock.now()
        return [LeaseInfo(slot.id, slot.ttl, slot.deadline / 1e9 - now, tuple(keys.get(slot.id, ()))) for slot in slots]

    # --- watching ---------------------------------------------------------------------------------------

    def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Deliver changes."""
        return self._feeds.watch(prefix, since)

    def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Deliver records."""
        return self._feeds.follow(prefix, after)

    async def changes_since(self, prefix: str, since: int, limit: int) -> ChangePage:
        """Return a page of changes."""
        self.ensure_open()
        return await self._read(reads.changes, prefix, since, limit)

    async def follow_start(self, prefix: str, after: Mapping[str, int]) -> FollowStart:
        """Return where a follow begins."""
        self.ensure_open()
        return await self._read(reads.follow_start, prefix, after)

    async def records_since(self, prefix: str, since: int, limit: int) -> RecordPage:
        """Return a page of records."""
        self.ensure_open()
        return await self._read(reads.records, prefix, since, limit)

    async def changed(self, revision: int) -> None:
        """Wait for a commit above a revision, by whomever."""
        self.ensure_open()
        await self._notifier.above(revision)

    async def _probe(self) -> int:
        self.counters["polls"] += 1
        revision, self._next_due = await (await self._link("poller")).run(self._poll)
        if self._next_due <= self.clock.now() >= self._no_sweep_before:
            await self._sweep()
        return revision

    def _poll(self, raw: sqlite3.Connection) -> tuple[int, float]:
        with translated(self.path):
            self._writer.check_file()
            (version,) = raw.execute("PRAGMA data_version").fetchone()
        if version != self._version:
            self._polled = self._in_cut(raw, lambda at: int(at.revision))
            self._version = version
        return self._polled, self._leases.next_due()

    def _until_due(self) -> float:
        return self._next_due - self.clock.now()
