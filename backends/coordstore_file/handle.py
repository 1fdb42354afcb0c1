"""The handle on a store of files: which thread does what, and in which order things open and close.

- The *writer* thread commits batches; group commit stands before it.
- The *reader* thread does every read, beside the writer, from the state in memory and from the files.
- The *upkeep* thread shows in the tree what was committed, and compacts.
- A thread of its own renews leases, so that no renewal waits for a sync of data.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

from coordstore.errors import OutcomeUnknown, StoreClosed, Unavailable
from coordstore.hostkit import Batches, LeaseFile, Notifier, Outcome, StoreLock, Writing, boot_id
from coordstore.model import Committed, LeaseInfo, StoreInfo
from coordstore.store import Feeds, StoreBase
from coordstore_file import reads, requests
from coordstore_file.homes import Reader, Vanished
from coordstore_file.layout import FORMAT, Layout
from coordstore_file.opening import opened
from coordstore_file.upkeep import Upkeep
from coordstore_file.writer import Writer, translate

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
    from pathlib import Path

    from coordstore.model import Batch, Entry, Listing, Record, Transaction
    from coordstore.store import Clock
    from coordstore.store.feeds import ChangePage, FollowStart, RecordPage
    from coordstore_file._fs import FileSystem
    from coordstore_file.journal import Journal

__all__ = ["FileStore"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_SWEEP_AGAIN: Final = 5.0
"""Seconds after which a reader tries again to end due leases when it could not."""
_RACES: Final = 5
"""Times that a compaction may take files away under one read."""
_ABILITIES: Final = frozenset(("persistent", "processes"))
_THREADS: Final = ("writer", "reader", "upkeep", "lease")


class FileStore(StoreBase):
    """A store in one directory; `open_file` makes and starts it.

    Args:
        path: The directory.
        fs: The file system.
        durability: ``full`` or ``process``.
        allow_network: Do not refuse a network file system.
        lock_wait: Seconds to wait for other writers.
        clock: What leases are counted on.
    """

    def __init__(
        self,
        path: Path,
        fs: FileSystem,
        *,
        durability: str,
        allow_network: bool,
        lock_wait: float,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(clock)
        self.path = path
        self.layout = Layout(path)
        self.store_id = ""
        self._fs = fs
        self._durability = durability
        self._allow_network = allow_network
        self._lock = StoreLock(self.layout.lock, lock_wait)
        self._feeds = Feeds(self)
        self._batches: Batches[requests.Request, Committed] = Batches(self._write)
        self._notifier = Notifier(self._probe, self._until_due, self.layout.mark, local=not allow_network)
        self._threads = {name: ThreadPoolExecutor(1, thread_name_prefix=f"coordstore-{name}") for name in _THREADS}
        self._homes = Reader(fs, path)
        self._journal: Journal
        self._leases: LeaseFile
        self._writer: Writer
        self._upkeep: Upkeep
        self._next_due = 0.0
        self._no_sweep_before = 0.0

    def __repr__(self) -> str:
        """Show the directory and what is under way."""
        state = "closed" if self.closed else f"{self._batches!r} {self._notifier!r}"
        return f"<FileStore {self.path} {state}>"

    # --- opening and closing ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store; cancelled: nothing stays open."""
        try:
            # Not in the writer's thread: one that has worked for long by then stays on another processor than the loop.
            await _to_the_end(self._in_thread("upkeep", self._open))
        except BaseException:
            await _to_the_end(self._free())
            raise
        self._upkeep.begin()

    def _open(self) -> None:
        try:
            self.store_id, self._journal = opened(self._fs, self.layout, self._lock, allow_network=self._allow_network)
            self._leases = LeaseFile(self.layout.leases, self.store_id, self.clock)
        except OSError as error:
            raise translate(error, self.path) from error
        durable = self._durability == "full"
        self._writer = Writer(self._journal, self._lock, self._leases, self.clock, self.counters, durable=durable)
        self._upkeep = Upkeep(self._journal, self._lock, boot_id(), self._threads["upkeep"], self.counters)
        self._upkeep.settle_empty()

    async def do_close(self) -> None:
        """Fail who waits, finish the sealed batch, show what was committed, close everything."""
        message = "this store handle was closed: open the store again with open_store()"
        self._notifier.fail(StoreClosed(message))
        await _to_the_end(self._end())

    async def _end(self) -> None:
        await self._batches.aclose()
        await self._notifier.aclose()
        await self._upkeep.aclose()
        await self._free()

    async def _free(self) -> None:
        for name in _THREADS:
            # What is under way in a thread ends before the files that it uses are closed.
            await self._in_thread(name, _nothing)
            self._threads[name].shutdown(wait=False)
        await asyncio.to_thread(self._close_files)

    def _close_files(self) -> None:
        for owner in ("_leases", "_writer", "_journal", "_upkeep"):
            if hasattr(self, owner):
                getattr(self, owner).close()
        self._lock.close()

    async def _in_thread(
        self,
        name: str,
        function: Callable[Arguments, Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._threads[name], partial(function, *args, **kwargs))

    # --- writing ----------------------------------------------------------------------------------------

    async def _submit(self, request: requests.Request) -> Committed:
        return await self._batches.submit(request)

    async def _write(self, writing: Writing[requests.Request, Committed]) -> list[Outcome[Committed]]:
        answers = await self._in_thread("writer", self._writer.write, writing)
        self._notifier.moved(self._writer.seen)
        self._upkeep.soon()
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
        """Compact at once."""
        return await self._upkeep.compact(keep)

    async def shown(self) -> None:
        """Return when the tree shows what has been committed so far, by whomever; it does so soon anyway."""
        self.ensure_open()
        await self._upkeep.shown()

    # --- reading ----------------------------------------------------------------------------------------

    async def _read(
        self,
        function: Callable[Concatenate[Journal, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Read in one cut, after ending the leases that are due."""
        self.counters["reads"] += 1
        sweep = self.clock.now() >= self._no_sweep_before

        def work() -> tuple[bool, Result | None]:
            if sweep and self._leases.next_due() <= self.clock.now():
                return False, None
            return True, self._in_cut(lambda at: function(at, *args, **kwargs))

        done, result = await self._in_thread("reader", work)
        if not done:
            await self._sweep()
            sweep = False
            done, result = await self._in_thread("reader", work)
        return result  # type: ignore[return-value]  # it is what the function returned

    def _in_cut(self, function: Callable[[Journal], Result]) -> Result:
        gone: Exception | None = None
        try:
            with self._journal.mutex:
                for _ in range(_RACES):
                    self._journal.refresh()
                    try:
                        return function(self._journal)
                    except (FileNotFoundError, Vanished) as error:
                        gone = error
                    self._journal.reload()
        except OSError as error:
            raise translate(error, self.path) from error
        raise self._journal.missing(gone)

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
        revision, floor, size = await self._read(lambda at: (at.replica.revision, at.floor, at.at))
        details = {"path": str(self.path), "segment": size.segment, "segment_bytes": size.offset}
        url, durability = f"file:{self.path}", self._durability
        return StoreInfo(self.store_id, "file", url, revision, floor, durability, FORMAT, _ABILITIES, details)

    async def do_get(self, key: str) -> Entry | None:
        """Return the entry."""
        return await self._read(lambda at: at.replica.keys.get(key))

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Return a cut."""
        return await self._read(lambda at: at.replica.keys.list(prefix, limit, after, keys_only))

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Return records."""
        return await self._read(reads.read, self._homes, stream, after, limit)

    async def do_heads(self, prefix: str) -> dict[str, int]:
        """Return heads."""
        return await self._read(lambda at: {name: head for name, (_, head) in at.replica.spans(prefix).items()})

    # --- leases -----------------------------------------------------------------------------------------

    async def do_grant(self, ttl: int) -> int:
        """Grant."""
        return await self._in_thread("lease", self._leases.grant, ttl)

    async def lease_renew(self, lease: int) -> None:
        """Renew, or say that it has ended."""
        self.ensure_open()
        self.counters["renewals"] += 1
        await self._in_thread("lease", self._leases.renew, lease)

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
        keys = await self._read(lambda at: {lease: at.replica.keys.leased(lease) for lease in at.replica.keys.leases()})
        slots = await self._in_thread("lease", self._leases.live)
        now = self.clock.now()
        return [LeaseInfo(slot.id, slot.ttl, slot.deadline / 1e9 - now, keys.get(slot.id, ())) for slot in slots]

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
        return await self._read(reads.follow_start, self._homes, prefix, after)

    async def records_since(self, prefix: str, since: int, limit: int) -> RecordPage:
        """Return a page of records."""
        self.ensure_open()
        return await self._read(reads.records, self._homes, prefix, since, limit)

    async def changed(self, revision: int) -> None:
        """Wait for a commit above a revision, by whomever."""
        self.ensure_open()
        await self._notifier.above(revision)

    async def _probe(self) -> int:
        self.counters["polls"] += 1
        revision, self._next_due = await self._in_thread("reader", self._poll)
        if self._next_due <= self.clock.now() >= self._no_sweep_before:
            await self._sweep()
        return revision

    def _poll(self) -> tuple[int, float]:
        return self._in_cut(lambda at: at.replica.revision), self._leases.next_due()

    def _until_due(self) -> float:
        return self._next_due - self.clock.now()


def _nothing() -> None:
    """Do nothing: whoever waits for this has waited for what came before it."""


async def _to_the_end(work: Coroutine[None, None, Result]) -> Result:
    """Await something to its end even when cancelled meanwhile; then the cancellation goes on."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and not task.cancelled() and task.exception() is None:
        raise cancelled
    return task.result()
