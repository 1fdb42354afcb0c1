"""RecordingStore: any store behind the same protocol, with every call of one client written down."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self, TypeVar

from coordstore.errors import InvalidArgument
from coordstore.model import Append, Check, Delete, Put, lease_id
from coordstore.store import Lease
from coordstore.testing.history.record import FAILED, OK, UNKNOWN, outcome_of, row, text

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from coordstore.model import Batch, Entry, HasId, LeaseInfo, Listing, Record, Resolution, StoreInfo
    from coordstore.store import CoordStore, Fence
    from coordstore.testing.history.record import Operation, Recorder

    LeaseInfos = list[LeaseInfo]
    Records = list[Record]

__all__ = ["RecordedLease", "RecordingStore"]

Result = TypeVar("Result")
WRITES = frozenset({"put", "create", "delete", "transact", "delete_prefix", "append", "revoke", "trim", "drop"})


class Journal:
    """One client's calls: its name, which changes after an unknown outcome, and its operations' numbers."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self.recorder = recorder
        self._name = name
        self._life = 0
        self._number = 0
        self._busy = False

    @property
    def client(self) -> str:
        """The client's name now."""
        return f"{self._name}.{self._life}"

    def begin(self, kind: str, key: str, args: dict[str, Any]) -> Operation:
        """Note that a call begins."""
        self._number += 1
        return self.recorder.begin(self.client, f"{self._name}:{self._number}", kind, key, args)

    async def call(
        self,
        kind: str,
        key: str,
        args: dict[str, Any],
        work: Callable[[], Awaitable[Result]],
        seen: Callable[[Result], tuple[int | None, object]],
    ) -> Result:
        """Do a call and note how it ended; whatever it raises goes through."""
        if self._busy:
            message = f"client {self.client} does one operation at a time: give each task a RecordingStore of its own"
            raise InvalidArgument(message)
        self._busy = True
        made = self.begin(kind, key, args)
        try:
            result = await work()
        except BaseException as error:
            self._failed(made, error)
            raise
        finally:
            self._busy = False
        made.rev, made.value = seen(result)
        self.recorder.end(made, OK)
        return result

    def _failed(self, made: Operation, error: BaseException) -> None:
        outcome, made.value = outcome_of(error)
        made.error = type(error).__name__
        if outcome == UNKNOWN and made.kind in WRITES:
            self._life += 1
        # What was only read has no outcome to be in doubt about.
        self.recorder.end(made, outcome if made.kind in WRITES else FAILED)


class RecordedLease(Lease):
    """A lease whose renewals and revocation are written down, under a client name of its own.

    Args:
        lease: The lease, whose state this one takes over; use it no more.
        journal: Where to write.
    """

    def __init__(self, lease: Lease, journal: Journal) -> None:
        self.__dict__.update(vars(lease))
        self._journal = journal

    async def renew(self) -> None:
        """Renew; see `Lease.renew`."""
        await self._journal.call("renew", "", {"lease": self.id, "ttl": self.ttl}, super().renew, nothing)

    async def revoke(self) -> None:
        """Revoke; see `Lease.revoke`."""
        self._stop_keeper()
        await self._journal.call("revoke", "", {"lease": self.id}, super().revoke, nothing)


class RecordingStore:
    """One client of a store; what it calls is recorded, everything else is the store's.

    Args:
        store: The store, which several clients may share. Closing the client leaves it open.
        recorder: Where to write.
        client: The client's name, unique in the history.
    """

    def __init__(self, store: CoordStore, recorder: Recorder, client: str) -> None:
        self._store = store
        self._journal = Journal(recorder, client)
        self._name = client
        self._sources = 0

    def __repr__(self) -> str:
        """Show the client and its store."""
        return f"<RecordingStore {self._journal.client} on {self._store!r}>"

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the store open: others use it."""

    async def aclose(self) -> None:
        """Leave the store open: others use it."""

    async def info(self) -> StoreInfo:
        """Return what the store is; not recorded."""
        return await self._store.info()

    def statistics(self) -> dict[str, int | float]:
        """Return the store's counters; not recorded."""
        return self._store.statistics()

    async def leases(self) -> LeaseInfos:
        """Return the live leases; not recorded."""
        return await self._store.leases()

    # --- keys -------------------------------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """Record `CoordStore.get`."""
        return await self._journal.call(
            "get", key, {}, lambda: self._store.get(key), lambda e: (e.revision, row(e)) if e else (None, None)
        )

    async def list(
        self,
        prefix: str = "",
        limit: int | None = None,
        after: str | None = None,
        keys_only: bool = False,  # noqa: FBT001, FBT002 - the protocol's signature
    ) -> Listing:
        """Record `CoordStore.list`."""
        args = {"limit": limit, "after": after, "keys_only": keys_only}
        return await self._journal.call(
            "list",
            prefix,
            args,
            lambda: self._store.list(prefix, limit, after, keys_only),
            lambda cut: (cut.revision, {"entries": [row(entry) for entry in cut.entries], "more": cut.more}),
        )

    async def transact(
        self,
        writes: Sequence[Put | Delete] = (),
        checks: Sequence[Check] = (),
        appends: Sequence[Append] = (),
        fence: Fence | None = None,
        resolvable: bool = False,  # noqa: FBT001, FBT002 - the protocol's signature
    ) -> int:
        """Record `CoordStore.transact`."""
        args = asked(writes, checks, appends, fence)
        key = next((name[0] for name in (*args["writes"], *args["appends"], *args["checks"])), "")
        return await self._journal.call(
            "transact", key, args, lambda: self._store.transact(writes, checks, appends, fence, resolvable), revision
        )

    async def put(
        self,
        key: str,
        value: bytes,
        expect: int | None = None,
        lease: HasId | int | None = None,
        fence: Fence | None = None,
    ) -> int:
        """Record `CoordStore.put`."""
        args = asked([Put(key, value, lease)], expected(key, expect), (), fence)
        return await self._journal.call(
            "put", key, args, lambda: self._store.put(key, value, expect, lease, fence), revision
        )

    async def create(self, key: str, value: bytes, lease: HasId | int | None = None) -> int:
        """Record `CoordStore.create`."""
        args = asked([Put(key, value, lease)], expected(key, 0), (), None)
        return await self._journal.call("create", key, args, lambda: self._store.create(key, value, lease), revision)

    async def delete(self, key: str, expect: int | None = None, fence: Fence | None = None) -> bool:
        """Record `CoordStore.delete`."""
        args = asked([Delete(key)], expected(key, expect), (), fence)
        return await self._journal.call("delete", key, args, lambda: self._store.delete(key, expect, fence), value)

    async def delete_prefix(self, prefix: str) -> int:
        """Record `CoordStore.delete_prefix`."""
        return await self._journal.call(
            "delete_prefix", prefix, asked((), (), (), None), lambda: self._store.delete_prefix(prefix), value
        )

    async def watch(self, prefix: str = "", since: int | None = None) -> AsyncGenerator[Batch]:
        """Record `CoordStore.watch`: each batch with the time it came."""
        made = self._begin("watch", prefix, {"since": since})
        with self._ending(made):
            async with contextlib.aclosing(self._store.watch(prefix, since)) as source:
                number = 0
                async for batch in source:
                    number += 1
                    rows = [[change.key, change.entry and row(change.entry)] for change in batch.changes]
                    found = {"reset": batch.reset, "complete": batch.complete, "changes": rows}
                    self._journal.recorder.deliver(made, number, "batch", batch.revision, found)
                    yield batch

    # --- streams ----------------------------------------------------------------------------------------

    async def append(self, stream: str, records: Sequence[bytes], fence: Fence | None = None) -> int:
        """Record `CoordStore.append`."""
        args = asked((), (), [Append(stream, each) for each in records], fence)
        return await self._journal.call(
            "append", stream, args, lambda: self._store.append(stream, records, fence), value
        )

    async def read(self, stream: str, after: int = 0, limit: int | None = None) -> Records:
        """Record `CoordStore.read`."""
        return await self._journal.call(
            "read",
            stream,
            {"after": after, "limit": limit},
            lambda: self._store.read(stream, after, limit),
            lambda found: (None, [[each.sequence, each.revision, text(each.data)] for each in found]),
        )

    async def follow(self, prefix: str = "", after: Mapping[str, int] | None = None) -> AsyncGenerator[Record]:
        """Record `CoordStore.follow`: each record with the time it came."""
        made = self._begin("follow", prefix, {"after": dict(after or {})})
        with self._ending(made):
            async with contextlib.aclosing(self._store.follow(prefix, after)) as source:
                number = 0
                async for record in source:
                    number += 1
                    found = [record.stream, record.sequence, text(record.data)]
                    self._journal.recorder.deliver(made, number, "record", record.revision, found)
                    yield record

    async def heads(self, prefix: str = "") -> dict[str, int]:
        """Record `CoordStore.heads`."""
        return await self._journal.call("heads", prefix, {}, lambda: self._store.heads(prefix), value)

    async def trim(self, stream: str, upto: int) -> None:
        """Record `CoordStore.trim`."""
        await self._journal.call("trim", stream, {"upto": upto}, lambda: self._store.trim(stream, upto), nothing)

    async def drop(self, stream: str) -> None:
        """Record `CoordStore.drop`."""
        await self._journal.call("drop", stream, {}, lambda: self._store.drop(stream), nothing)

    # --- leases and the rest ----------------------------------------------------------------------------

    async def grant(self, ttl: int) -> Lease:
        """Record `CoordStore.grant`, and what is done with the lease."""
        lease = await self._journal.call(
            "grant", "", {"ttl": ttl}, lambda: self._store.grant(ttl), lambda made: (None, made.id)
        )
        self._sources += 1
        return RecordedLease(lease, Journal(self._journal.recorder, f"{self._name}.lease{self._sources}"))

    async def resolve(self, op: str) -> Resolution:
        """Record `CoordStore.resolve`."""
        return await self._journal.call(
            "resolve", "", {"op": op}, lambda: self._store.resolve(op), lambda found: (found.revision, found.applied)
        )

    async def compact(self, keep: int = 0) -> int:
        """Record `CoordStore.compact`."""
        return await self._journal.call("compact", "", {"keep": keep}, lambda: self._store.compact(keep), value)

    def _begin(self, kind: str, key: str, args: dict[str, Any]) -> Operation:
        self._sources += 1
        return Journal(self._journal.recorder, f"{self._name}.{kind}{self._sources}").begin(kind, key, args)

    @contextlib.contextmanager
    def _ending(self, made: Operation) -> Iterator[None]:
        try:
            yield
        except BaseException as error:
            made.error = type(error).__name__
            raise
        finally:
            self._journal.recorder.end(made, OK if made.error in {"", "GeneratorExit", "CancelledError"} else FAILED)


def asked(
    writes: Sequence[Put | Delete], checks: Sequence[Check], appends: Sequence[Append], fence: Fence | None
) -> dict[str, Any]:
    """Return a transaction as an operation's arguments."""
    guard = Check(fence[0], create_revision=fence[1]) if isinstance(fence, tuple) else fence
    return {
        "writes": [
            [each.key, text(each.value), lease_id(each.lease)] if isinstance(each, Put) else [each.key, None, None]
            for each in writes
        ],
        "checks": [[each.key, each.revision, each.create_revision] for each in checks],
        "appends": [[each.stream, text(each.data)] for each in appends],
        "fence": guard and [guard.key, guard.revision, guard.create_revision],
    }


def expected(key: str, expect: int | None) -> list[Check]:
    """Return the check that an expected revision stands for."""
    return [] if expect is None else [Check(key, revision=expect)]


def revision(result: int) -> tuple[int | None, object]:
    """Record a returned revision."""
    return result, None


def value(result: object) -> tuple[int | None, object]:
    """Record a returned value."""
    return None, result


def nothing(_: None) -> tuple[int | None, object]:
    """Record that it returned."""
    return None, None
