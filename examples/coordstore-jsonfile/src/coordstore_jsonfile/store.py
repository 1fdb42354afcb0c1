"""The store: a file of JSON lines, one commit each, behind a lock that all processes share.

Whatever is asked runs on the handle's one thread, under the store's lock: first the lines that others have written are
taken in, then the leases that are due are ended, then the question is answered from memory or one line is added and
synced. A line without its end is what a crash has left of a write that nobody was told of: it is cut off.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from coordstore import engine
from coordstore.errors import Corrupt, OutcomeUnknown, StoreClosed, StoreReplaced, Unavailable, VersionMismatch
from coordstore.hostkit import LeaseFile, Notifier, StoreLock
from coordstore.hostkit.paths import check_file, create_file, prepare_directory, refuse_network, sync_directory
from coordstore.model import Committed, LeaseInfo, StoreInfo
from coordstore.store import Feeds, StoreBase
from coordstore.store.feeds import ChangePage, FollowStart, RecordPage
from coordstore_jsonfile.lines import commit_of, line_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping
    from pathlib import Path

    from coordstore.model import Batch, Entry, Listing, Record, Transaction
    from coordstore.url import StoreURL

__all__ = ["JsonFileStore", "open_jsonfile"]

Result = TypeVar("Result")

_FORMAT: Final = 1


async def open_jsonfile(url: StoreURL) -> JsonFileStore:
    """Open ``jsonfile:PATH``, and create it when there is none."""
    url.check_options(())
    store = JsonFileStore(url.path)
    await store.start()
    return store


class JsonFileStore(StoreBase):
    """A handle on the store in a file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._format, self._store_id = 0, ""
        self._state = engine.State()
        self._fd = -1
        self._read = 0
        self._due = 0.0
        self._lock = StoreLock(path.with_name(path.name + ".lock"), wait=10)
        self._leases: LeaseFile
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jsonfile")
        self._feeds = Feeds(self)
        self._notifier = Notifier(self._revision, lambda: self._due - self.clock.now(), self._lock.path)

    # --- the file, on the store's thread ----------------------------------------------------------------

    async def start(self) -> None:
        """Open the file."""
        try:
            await self._on_thread(self._open)
        except BaseException:
            await self.aclose()
            raise

    async def do_close(self) -> None:
        """Let those who wait know, finish what has begun, close the files."""
        message = "this store handle was closed: open the store again"
        self._notifier.fail(StoreClosed(message))
        await asyncio.shield(self._close())

    async def _close(self) -> None:
        await self._notifier.aclose()
        await self._on_thread(self._free)
        self._thread.shutdown(wait=False)

    async def _on_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def _turn(self, work: Callable[[], Result]) -> Result:
        """Do something with the state as it is now, while nobody else changes it."""
        result = await self._on_thread(partial(self._locked, work))
        self._notifier.moved(self._state.revision)
        return result

    def _locked(self, work: Callable[[], Result]) -> Result:
        with self._lock.held():
            self._catch_up()
            self._sweep()
            return work()

    def _open(self) -> None:
        prepare_directory(self._path.parent)
        refuse_network(self._path.parent, "jsonfile")
        with self._lock.held():
            self._fd = create_file(self._path) if check_file(self._path) is None else os.open(self._path, os.O_RDWR)
            if os.fstat(self._fd).st_size == 0:
                self._add(json.dumps({"format": _FORMAT, "store_id": secrets.token_hex(16)}).encode() + b"\n")
                sync_directory(self._path.parent)
            self._read = 0
            self._catch_up()
            self._leases = LeaseFile(self._path.with_name(self._path.name + ".leases"), self._store_id, self.clock)

    def _free(self) -> None:
        if hasattr(self, "_leases"):
            self._leases.close()
        if self._fd >= 0:
            os.close(self._fd)
        self._lock.close()

    def _catch_up(self) -> None:
        there = check_file(self._path)
        if there is None or there.st_ino != os.fstat(self._fd).st_ino or there.st_size < self._read:
            message = f"{self._path} is not the file that was opened: open the store again"
            raise StoreReplaced(message)
        *lines, torn = os.pread(self._fd, there.st_size - self._read, self._read).split(b"\n")
        if torn:
            os.ftruncate(self._fd, there.st_size - len(torn))
        for line in lines:
            self._take(line)
            self._read += len(line) + 1

    def _take(self, line: bytes) -> None:
        try:
            parts = json.loads(line)
            if "format" in parts:
                self._format, self._store_id = parts["format"], parts["store_id"]
            elif "keep" in parts:
                self._state.compact(parts["keep"])
            else:
                self._state.evolve(commit_of(parts))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            message = f"{self._path} is damaged at byte {self._read} ({error}): restore it from a backup"
            raise Corrupt(message) from error
        if self._format != _FORMAT:
            message = f"{self._path} has format {self._format}, this reads {_FORMAT}; nothing was written"
            raise VersionMismatch(message)

    def _add(self, line: bytes) -> None:
        try:
            written = os.pwrite(self._fd, line, self._read)
            os.fsync(self._fd)
        except OSError as error:
            # Cut off again, if that can be done; whether the line is on the disk by now, nobody knows.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, self._read)
            message = f"{self._path} could not be written ({error}): look at the disk"
            raise OutcomeUnknown(message) from error
        if written < len(line):
            os.ftruncate(self._fd, self._read)
            message = f"the disk of {self._path} is full: not applied"
            raise Unavailable(message)
        self._read += written

    def _sweep(self, revoked: tuple[int, ...] = ()) -> None:
        if revoked or self._leases.next_due() <= self.clock.now():
            ended = self._leases.mark_due(self._state.leases(), revoked)
            for commit in engine.decide_end_leases(self._state, ended):
                self._commit(commit)
            self._leases.settle()
        self._due = self._leases.next_due()

    def _commit(self, commit: engine.Commit) -> Committed:
        if commit.revision == self._state.revision:
            return Committed(commit.revision)
        self._add(line_of(commit))
        self._state.evolve(commit)
        self._lock.ring(commit.revision)
        heads = {record.stream: record.sequence for record in commit.records}
        return Committed(commit.revision, sum(change.entry is None for change in commit.changes), heads)

    def _live(self) -> set[int]:
        return {slot.id for slot in self._leases.live()}

    # --- what StoreBase asks ----------------------------------------------------------------------------

    async def do_info(self) -> StoreInfo:
        """Return what it is."""
        revision, floor = await self._turn(lambda: (self._state.revision, self._state.floor))
        able = frozenset(("persistent", "processes"))
        url = f"jsonfile:{self._path}"
        return StoreInfo(self._store_id, "jsonfile", url, revision, floor, "full", _FORMAT, able)

    async def do_get(self, key: str) -> Entry | None:
        """Return the entry."""
        return await self._turn(lambda: self._state.get(key))

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Return a cut."""
        return await self._turn(lambda: self._state.list(prefix, limit, after, keys_only))

    async def do_transact(self, txn: Transaction) -> Committed:
        """Decide, and write the line."""
        return await self._turn(lambda: self._commit(engine.decide(self._state, txn, self._live())))

    async def do_delete_prefix(self, prefix: str) -> int:
        """Remove keys."""
        return (await self._turn(lambda: self._commit(engine.decide_delete_prefix(self._state, prefix)))).deleted

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Return records."""
        return await self._turn(lambda: self._state.read(stream, after, limit))

    async def do_heads(self, prefix: str) -> dict[str, int]:
        """Return heads."""
        return await self._turn(lambda: {name: head for name, (_, head) in self._state.spans(prefix).items()})

    async def do_trim(self, stream: str, upto: int) -> None:
        """Trim."""
        await self._turn(lambda: self._commit(engine.decide_trim(self._state, stream, upto)))

    async def do_drop(self, stream: str) -> None:
        """Drop."""
        await self._turn(lambda: self._commit(engine.decide_drop(self._state, stream)))

    async def do_compact(self, keep: int) -> int:
        """Forget history, in memory; the file keeps it."""

        def compact() -> int:
            self._add(json.dumps({"keep": keep}).encode() + b"\n")
            return self._state.compact(keep)

        return await self._turn(compact)

    async def do_grant(self, ttl: int) -> int:
        """Grant."""
        return await self._on_thread(lambda: self._leases.grant(ttl))

    async def lease_renew(self, lease: int) -> None:
        """Renew, or say that it has ended."""
        self.ensure_open()
        await self._on_thread(lambda: self._leases.renew(lease))

    async def lease_revoke(self, lease: int) -> None:
        """End a lease and its keys."""
        self.ensure_open()
        await self._turn(lambda: self._sweep((lease,)))

    async def do_leases(self) -> list[LeaseInfo]:
        """Return the live leases."""
        now = self.clock.now()
        return await self._turn(
            lambda: [
                LeaseInfo(slot.id, slot.ttl, slot.deadline / 1e9 - now, self._state.leased(slot.id))
                for slot in self._leases.live()
            ]
        )

    def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Deliver changes."""
        return self._feeds.watch(prefix, since)

    def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Deliver records."""
        return self._feeds.follow(prefix, after)

    # --- what Feeds asks --------------------------------------------------------------------------------

    async def changes_since(self, prefix: str, since: int, limit: int) -> ChangePage:
        """Return a page of changes."""

        def page() -> ChangePage:
            batches, upto = self._state.changes(prefix, since, limit)
            return ChangePage(batches, upto, self._state.floor, more=upto < self._state.revision)

        self.ensure_open()
        return await self._turn(page)

    async def follow_start(self, prefix: str, after: Mapping[str, int]) -> FollowStart:
        """Return where a follow begins."""

        def start() -> FollowStart:
            spans = self._state.spans(prefix)
            wanted = [self._state.revision_of(name, max(after.get(name, 0) + 1, spans[name][0])) for name in spans]
            return FollowStart(spans, self._state.revision, [revision for revision in wanted if revision is not None])

        self.ensure_open()
        return await self._turn(start)

    async def records_since(self, prefix: str, since: int, limit: int) -> RecordPage:
        """Return a page of records."""

        def page() -> RecordPage:
            records, upto = self._state.records(prefix, since, limit)
            return RecordPage(records, upto, more=upto < self._state.revision)

        self.ensure_open()
        return await self._turn(page)

    async def changed(self, revision: int) -> None:
        """Wait for a commit above a revision, by whomever."""
        self.ensure_open()
        await self._notifier.above(revision)

    async def _revision(self) -> int:
        return await self._turn(lambda: self._state.revision)
