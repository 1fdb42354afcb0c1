"""The part of the contract that is the same everywhere: checks of arguments, sugar, leases, resolvable transactions.

A backend derives from `StoreBase` and supplies the primitives named ``do_…``; it receives only checked
arguments. Everything a caller sees comes through here, so limits and errors are the same on every backend.
"""

from __future__ import annotations

import abc
import os
from collections import Counter
from typing import TYPE_CHECKING, Self

from coordstore import names
from coordstore.errors import ForkRefused, InvalidArgument, StoreClosed
from coordstore.model import Append, Check, Committed, Delete, Put, Transaction
from coordstore.store.clock import Clock, SystemClock
from coordstore.store.lease import Lease
from coordstore.store.slots import Slots

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Mapping, Sequence
    from types import TracebackType

    from coordstore.model import Batch, Entry, HasId, LeaseInfo, Listing, Record, Resolution, StoreInfo
    from coordstore.store.protocol import Fence

    LeaseInfos = list[LeaseInfo]
    Records = list[Record]

__all__ = ["StoreBase"]


class StoreBase(abc.ABC):
    """Base of a backend's handle; the methods without ``do_`` are those of `CoordStore`.

    Args:
        clock: What leases are counted on; the system's boot-time clock when None.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock: Clock = clock or SystemClock()
        self.counters: Counter[str] = Counter()
        self._closed = False
        self._pid = os.getpid()
        self._slots = Slots(self)

    def __repr__(self) -> str:
        """Show the class and whether it is open."""
        return f"<{type(self).__name__} {'closed' if self._closed else 'open'}>"

    # --- what a backend supplies ------------------------------------------------------------------------

    @abc.abstractmethod
    async def do_close(self) -> None:
        """Free everything; called once."""

    @abc.abstractmethod
    async def do_info(self) -> StoreInfo:
        """Return `CoordStore.info`."""

    @abc.abstractmethod
    async def do_get(self, key: str) -> Entry | None:
        """Return `CoordStore.get` of a checked key."""

    @abc.abstractmethod
    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Return `CoordStore.list` of checked arguments."""

    @abc.abstractmethod
    def do_transact(self, txn: Transaction) -> Awaitable[Committed]:
        """Apply a checked transaction, or raise as `CoordStore.transact` says; awaited at once."""

    @abc.abstractmethod
    async def do_delete_prefix(self, prefix: str) -> int:
        """Return `CoordStore.delete_prefix` of a checked prefix."""

    @abc.abstractmethod
    def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Return `CoordStore.watch` of checked arguments."""

    @abc.abstractmethod
    async def do_read(self, stream: str, after: int, limit: int | None) -> Records:
        """Return `CoordStore.read` of checked arguments."""

    @abc.abstractmethod
    def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Return `CoordStore.follow` of checked arguments."""

    @abc.abstractmethod
    async def do_heads(self, prefix: str) -> dict[str, int]:
        """Return `CoordStore.heads` of a checked prefix."""

    @abc.abstractmethod
    async def do_trim(self, stream: str, upto: int) -> None:
        """Do `CoordStore.trim` with checked arguments."""

    @abc.abstractmethod
    async def do_drop(self, stream: str) -> None:
        """Do `CoordStore.drop` with a checked name."""

    @abc.abstractmethod
    async def do_grant(self, ttl: int) -> int:
        """Grant a lease of a checked TTL and return its id."""

    @abc.abstractmethod
    async def lease_renew(self, lease: int) -> None:
        """Restart a lease's TTL; raise `LeaseLost` when it has ended."""

    @abc.abstractmethod
    async def lease_revoke(self, lease: int) -> None:
        """End a lease and its keys at one revision; nothing when it has ended."""

    @abc.abstractmethod
    async def do_leases(self) -> LeaseInfos:
        """Return `CoordStore.leases`."""

    @abc.abstractmethod
    async def do_compact(self, keep: int) -> int:
        """Return `CoordStore.compact` of a checked argument."""

    # --- life -------------------------------------------------------------------------------------------

    def ensure_open(self) -> None:
        """Refuse a closed handle, and one carried into a forked child.

        Raises:
            StoreClosed: It was closed.
            ForkRefused: This is another process than the one that opened it.
        """
        if self._closed:
            message = "this store handle was closed: open the store again with open_store()"
            raise StoreClosed(message)
        if os.getpid() != self._pid:
            message = f"this store handle belongs to process {self._pid}: a forked child opens the store itself"
            raise ForkRefused(message)

    @property
    def closed(self) -> bool:
        """Whether `aclose` was called."""
        return self._closed

    async def __aenter__(self) -> Self:
        """Return the handle."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the handle."""
        await self.aclose()

    async def aclose(self) -> None:
        """End the handle; see `CoordStore.aclose`."""
        if self._closed:
            return
        try:
            await self._slots.aclose()
        finally:
            # Twice at once, or cancelled while the slots' lease was revoked: the backend is closed, and once.
            closing = not self._closed
            self._closed = True
            if closing:
                await self.do_close()

    async def info(self) -> StoreInfo:
        """Return what the store is; see `CoordStore.info`."""
        self.ensure_open()
        return await self.do_info()

    def statistics(self) -> dict[str, int | float]:
        """Return this handle's counters; see `CoordStore.statistics`."""
        return dict(self.counters)

    # --- keys -------------------------------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """Return the key's entry; see `CoordStore.get`."""
        names.check_key(key)
        self.ensure_open()
        return await self.do_get(key)

    async def list(
        self, prefix: str = "", limit: int | None = None, after: str | None = None, keys_only: bool = False
    ) -> Listing:
        """Return one consistent cut; see `CoordStore.list`."""
        names.check_prefix(prefix)
        names.check_count(limit, "limit")
        if after is not None:
            names.check_key(after, "after")
        self.ensure_open()
        return await self.do_list(prefix, limit, after, keys_only=keys_only)

    async def transact(
        self,
        writes: Sequence[Put | Delete] = (),
        checks: Sequence[Check] = (),
        appends: Sequence[Append] = (),
        fence: Fence | None = None,
        resolvable: bool = False,
    ) -> int:
        """Apply all or nothing; see `CoordStore.transact`."""
        txn = Transaction.of(writes, checks, appends, fence)
        if resolvable:
            self.ensure_open()
            return (await self._slots.transact(txn)).revision
        return (await self.commit(txn)).revision

    def commit(self, txn: Transaction) -> Awaitable[Committed]:
        """Hand a checked transaction to the backend."""
        self.ensure_open()
        self.counters["transactions"] += 1
        return self.do_transact(txn)

    async def put(
        self,
        key: str,
        value: bytes,
        expect: int | None = None,
        lease: HasId | int | None = None,
        fence: Fence | None = None,
    ) -> int:
        """Write one key; see `CoordStore.put`."""
        return (await self.commit(Transaction.putting(key, value, expect, lease, fence))).revision

    async def create(self, key: str, value: bytes, lease: HasId | int | None = None) -> int:
        """Write a key that must be absent; see `CoordStore.create`."""
        return await self.put(key, value, expect=0, lease=lease)

    async def delete(self, key: str, expect: int | None = None, fence: Fence | None = None) -> bool:
        """Remove a key; see `CoordStore.delete`."""
        checks = () if expect is None else (Check(key, revision=expect),)
        return (await self.commit(Transaction.of((Delete(key),), checks, (), fence))).deleted > 0

    async def delete_prefix(self, prefix: str) -> int:
        """Remove all keys under a prefix; see `CoordStore.delete_prefix`."""
        names.check_prefix(prefix)
        self.ensure_open()
        return await self.do_delete_prefix(prefix)

    def watch(self, prefix: str = "", since: int | None = None) -> AsyncGenerator[Batch]:
        """Deliver changes; see `CoordStore.watch`."""
        names.check_prefix(prefix)
        if since is not None:
            names.check_position(since, "since")
        self.ensure_open()
        return self.do_watch(prefix, since)

    # --- streams ----------------------------------------------------------------------------------------

    async def append(self, stream: str, records: Sequence[bytes], fence: Fence | None = None) -> int:
        """Add records to a stream; see `CoordStore.append`."""
        given: object = records
        if isinstance(given, bytes | bytearray | str) or not records:
            message = f"append takes a sequence of one or more records, not {type(records).__name__}: [b'…']"
            raise InvalidArgument(message)
        txn = Transaction.appending(stream, records, fence)
        # As `commit` does: what is called most often is spared a coroutine.
        self.ensure_open()
        self.counters["transactions"] += 1
        return (await self.do_transact(txn)).heads[stream]

    async def read(self, stream: str, after: int = 0, limit: int | None = None) -> Records:
        """Return records of a stream; see `CoordStore.read`."""
        names.check_stream(stream)
        names.check_position(after, "after")
        names.check_count(limit, "limit")
        self.ensure_open()
        return await self.do_read(stream, after, limit)

    def follow(self, prefix: str = "", after: Mapping[str, int] | None = None) -> AsyncGenerator[Record]:
        """Deliver records as they come; see `CoordStore.follow`."""
        names.check_prefix(prefix)
        cursor = {
            names.check_stream(name): names.check_position(at, f"after[{name!r}]") for name, at in (after or {}).items()
        }
        self.ensure_open()
        return self.do_follow(prefix, cursor)

    async def heads(self, prefix: str = "") -> dict[str, int]:
        """Return the last sequences; see `CoordStore.heads`."""
        names.check_prefix(prefix)
        self.ensure_open()
        return await self.do_heads(prefix)

    async def trim(self, stream: str, upto: int) -> None:
        """Remove records up to a sequence; see `CoordStore.trim`."""
        names.check_stream(stream)
        names.check_position(upto, "upto")
        self.ensure_open()
        await self.do_trim(stream, upto)

    async def drop(self, stream: str) -> None:
        """Remove a stream; see `CoordStore.drop`."""
        names.check_stream(stream)
        self.ensure_open()
        await self.do_drop(stream)

    # --- leases and the rest ----------------------------------------------------------------------------

    async def grant(self, ttl: int) -> Lease:
        """Grant a lease; see `CoordStore.grant`."""
        names.check_ttl(ttl)
        self.ensure_open()
        sent = self.clock.now()
        return Lease(await self.do_grant(ttl), ttl, sent, self, self.clock)

    async def leases(self) -> LeaseInfos:
        """Return the live leases; see `CoordStore.leases`."""
        self.ensure_open()
        return await self.do_leases()

    async def resolve(self, op: str) -> Resolution:
        """Tell a transaction's fate; see `CoordStore.resolve`."""
        self.ensure_open()
        return await self._slots.resolve(op)

    async def compact(self, keep: int = 0) -> int:
        """Forget history; see `CoordStore.compact`."""
        names.check_position(keep, "keep")
        self.ensure_open()
        return await self.do_compact(keep)
