"""The handle on a store in an etcd cluster: the primitives of the contract in terms of etcd's."""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import TYPE_CHECKING, Any, Final

from coordstore.engine import lease_lost, trimmed
from coordstore.errors import Corrupt, NoStore, OutcomeUnknown, Unavailable, Unsupported, VersionMismatch
from coordstore.model import Batch, Change, Committed, LeaseInfo, Listing, Record, StoreInfo
from coordstore.names import under
from coordstore.store import StoreBase
from coordstore_etcd.cluster import Cluster
from coordstore_etcd.events import Events
from coordstore_etcd.faults import Compacted, FutureRevision, LeaseExists, LeaseGone
from coordstore_etcd.follow import Follower
from coordstore_etcd.layout import Layout, Span
from coordstore_etcd.messages import DELETED, EQUAL, TARGET_CREATE, messages
from coordstore_etcd.reads import Reader, entry_of
from coordstore_etcd.writer import Writer

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping

    from coordstore.model import Entry, Transaction
    from coordstore.store import Clock
    from coordstore_etcd.address import Address

__all__ = ["FORMAT", "EtcdStore"]

FORMAT: Final = 1
_ABILITIES: Final = frozenset(("persistent", "processes", "hosts"))
_RESET_PART: Final = 1000
_LEASES_AT_ONCE: Final = 32


class EtcdStore(StoreBase):
    """A store under a prefix of an etcd cluster; `open_etcd` makes and starts it.

    Args:
        address: The cluster, the prefix, and how to get there.
        clock: What leases are counted on here; etcd counts them on its own.
    """

    def __init__(self, address: Address, clock: Clock | None = None) -> None:
        super().__init__(clock)
        self.address = address
        self.store_id = ""
        self._layout = Layout(address.prefix)
        self._cluster = Cluster(address, self.counters)
        self._reader = Reader(self._cluster, self._layout)
        self._writer = Writer(self._reader)
        self._feeds: set[Events] = set()
        self._floor = 0

    def __repr__(self) -> str:
        """Show where it lies and whether it is open."""
        return f"<EtcdStore {self.address} {'closed' if self.closed else 'open'}>"

    # --- opening and closing ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Connect, and find or make the store's identity; cancelled: nothing stays open."""
        try:
            await self._cluster.start()
            await self._identify()
        except BaseException:
            await _to_the_end(self._cluster.aclose())
            raise

    async def _identify(self) -> None:
        key = self._layout.identity
        look = messages.RequestOp(range=messages.RangeRequest(key=key))
        absent = messages.Compare(key=key, result=EQUAL, target=TARGET_CREATE, create_revision=0)
        answer = await self._cluster.read("Txn", messages.TxnRequest(success=[look]))
        if not answer.responses[0].range.kvs:
            if not self.address.create:
                message = f"there is no store at {self.address}: check the prefix, or let `coord run` make one"
                raise NoStore(message)
            made = json.dumps({"store": secrets.token_hex(16), "format": FORMAT}).encode()
            put = messages.RequestOp(put=messages.PutRequest(key=key, value=made))
            # Done twice it is done once: the condition is that there is none.
            await self._cluster.read("Txn", messages.TxnRequest(compare=[absent], success=[put]))
            answer = await self._cluster.read("Txn", messages.TxnRequest(success=[look]))
        (kv,) = answer.responses[0].range.kvs
        self._reader.know(answer.header, kv.create_revision)
        self.store_id = _identity(kv.value, self.address)

    async def do_close(self) -> None:
        """End the feeds and close the channels; calls under way have a moment to end."""
        for events in list(self._feeds):
            events.close()
        await _to_the_end(self._cluster.aclose())

    async def do_info(self) -> StoreInfo:
        """Return what the store is."""
        revision = await self._reader.probe(0)
        details = {"endpoints": list(self.address.endpoints), "prefix": self.address.prefix}
        return StoreInfo(
            self.store_id,
            "etcd",
            str(self.address),
            revision,
            await self._find_floor(),
            "full",
            FORMAT,
            _ABILITIES,
            {**details, **await self._health()},
        )

    async def _health(self) -> dict[str, Any]:
        """Return what the member that is asked says of the cluster."""
        status = await self._cluster.read("Status", messages.StatusRequest())
        found: dict[str, Any] = {"etcd": status.version, "database_bytes": status.db_size}
        if status.db_size_quota:
            found["quota_bytes"] = status.db_size_quota
        if status.errors:
            found["alarms"] = list(status.errors)
        return found

    # --- keys -------------------------------------------------------------------------------------------

    async def do_get(self, key: str) -> Entry | None:
        """Return the entry."""
        _, (answer,) = await self._reader.look(messages.RangeRequest(key=self._layout.key(key)))
        return entry_of(self._layout, answer.kvs[0]) if answer.kvs else None

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Return a cut."""
        spans = self._layout.below("k", prefix, after)
        revision, kvs, more = await self._reader.scan(spans, limit, keys_only=keys_only)
        return Listing(revision, [entry_of(self._layout, kv) for kv in kvs], more)

    def do_transact(self, txn: Transaction) -> Awaitable[Committed]:
        """Apply a transaction."""
        return self._writer.commit(txn)

    async def do_delete_prefix(self, prefix: str) -> int:
        """Remove keys."""
        answer = await self._remove(self._layout.below("k", prefix))
        return sum(response.delete.deleted for response in answer.responses)

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Deliver changes."""
        position, fresh = since, False
        while True:
            if position is None:
                cut = await self.do_list(prefix, None, None, keys_only=False)
                for part in _reset(cut):
                    yield part
                position, fresh = cut.revision, True
            events = self._events(self._layout.around("k", prefix), position, fresh=fresh)
            try:
                while True:
                    for revision, changes in await events.next():
                        found = [self._change(event) for event in changes]
                        found = [change for change in found if under(prefix, change.key)]
                        if found:
                            yield Batch(revision, changes=found)
            except Compacted:
                self.counters["resets"] += 1
                position = None
            finally:
                self._end(events)

    def _change(self, event: Any) -> Change:  # noqa: ANN401  (a message)
        key = self._layout.name_of(event.kv.key)
        return Change(key, None if event.type == DELETED else entry_of(self._layout, event.kv))

    def _events(self, span: Span, since: int, *, fresh: bool) -> Events:
        self.ensure_open()
        events = Events(self._reader, span, since, self.counters, fresh=fresh)
        self._feeds.add(events)
        return events

    def _end(self, events: Events) -> None:
        events.close()
        self._feeds.discard(events)

    # --- streams ----------------------------------------------------------------------------------------

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Return records."""
        name = self._layout.head(stream)
        spans = [Span(name, name + b"\0"), self._layout.records(stream, after)]
        _, kvs, _ = await self._reader.scan(spans, None if limit is None else limit + 1)
        if not kvs or kvs[0].key != name or int(kvs[0].value) <= after:
            return []
        head, *rest = kvs
        records = [self._record(kv) for kv in rest]
        first = records[0].sequence if records else int(head.value) + 1
        if first != after + 1:
            raise trimmed(stream, first)
        return records

    def _record(self, kv: Any) -> Record:  # noqa: ANN401  (a message)
        stream, sequence, _ = self._layout.record_of(kv.key)
        return Record(stream, sequence, kv.mod_revision, kv.value)

    async def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Deliver records."""
        follower = Follower(self._reader, prefix, after)
        while True:
            async for record in follower.catch_up():
                yield record
            events = self._events(follower.span, follower.cut, fresh=False)
            try:
                while True:
                    for _, changes in await events.next():
                        for record in follower.take(changes):
                            yield record
            except Compacted:
                self.counters["resets"] += 1
            finally:
                self._end(events)

    async def do_heads(self, prefix: str) -> dict[str, int]:
        """Return heads."""
        _, kvs, _ = await self._reader.scan(self._layout.below("h", prefix))
        return {self._layout.name_of(kv.key): int(kv.value) for kv in kvs}

    async def do_trim(self, stream: str, upto: int) -> None:
        """Trim."""
        await self._remove([self._layout.records(stream, 0, upto)])

    async def do_drop(self, stream: str) -> None:
        """Drop; the mark tells transactions with many streams."""
        name = self._layout.head(stream)
        self._writer.forget(stream)
        if await self.do_heads(stream):
            mark = messages.RequestOp(put=messages.PutRequest(key=self._layout.drops))
            await self._remove([Span(name, name + b"\0"), self._layout.records(stream)], mark)

    async def _remove(self, spans: Iterable[Span], *others: Any) -> Any:  # noqa: ANN401  (messages)
        """Remove ranges at one revision."""
        gone = [
            messages.RequestOp(delete=messages.DeleteRangeRequest(key=span.low, range_end=span.high)) for span in spans
        ]
        request = messages.TxnRequest(compare=[self._reader.same_store], success=[*gone, *others])
        before = self._reader.seen
        answer = await self._cluster.write("Txn", request)
        self._reader.saw(answer.header, before)
        if not answer.succeeded:
            raise self._reader.gone()
        return answer

    # --- leases -----------------------------------------------------------------------------------------

    async def do_grant(self, ttl: int) -> int:
        """Grant a lease and mark it as this store's; asked twice with one id, there is one lease."""
        lease = secrets.randbits(62) + 1
        try:
            await self._cluster.read("LeaseGrant", messages.LeaseGrantRequest(ttl=ttl, id=lease))
        except LeaseExists:
            self.counters["grants_found"] += 1
        put = messages.PutRequest(key=self._layout.lease(lease), value=b"%d" % ttl, lease=lease)
        request = messages.TxnRequest(compare=[self._reader.same_store], success=[messages.RequestOp(put=put)])
        try:
            answer = await self._cluster.read("Txn", request)
        except LeaseGone as error:
            raise lease_lost(lease) from error
        if not answer.succeeded:
            raise self._reader.gone()
        return lease

    async def lease_renew(self, lease: int) -> None:
        """Renew, or say that it has ended."""
        self.ensure_open()
        self.counters["renewals"] += 1
        answer = await self._cluster.read("LeaseKeepAlive", messages.LeaseKeepAliveRequest(id=lease))
        if answer.ttl <= 0:
            raise lease_lost(lease)

    async def lease_revoke(self, lease: int) -> None:
        """End a lease: done twice it is done once."""
        self.ensure_open()
        try:
            await self._cluster.read("LeaseRevoke", messages.LeaseRevokeRequest(id=lease))
        except LeaseGone:
            return
        except Unavailable as error:
            message = f"lease {lease} may have been revoked or not ({error}); its TTL ends it"
            raise OutcomeUnknown(message) from error

    async def do_leases(self) -> list[LeaseInfo]:
        """Return the live leases of this store."""
        _, kvs, _ = await self._reader.scan([self._layout.area("l")], keys_only=True)
        ids = sorted(kv.lease for kv in kvs)
        found: list[LeaseInfo | None] = []
        for at in range(0, len(ids), _LEASES_AT_ONCE):
            found += await asyncio.gather(*map(self._lease, ids[at : at + _LEASES_AT_ONCE]))
        return [each for each in found if each is not None]

    async def _lease(self, lease: int) -> LeaseInfo | None:
        request = messages.LeaseTimeToLiveRequest(id=lease, keys=True)
        try:
            answer = await self._cluster.read("LeaseTimeToLive", request)
        except LeaseGone:
            return None
        if answer.ttl <= 0:
            return None
        area = self._layout.area("k")
        keys = sorted(self._layout.name_of(key) for key in answer.keys if area.low <= key < area.high)
        return LeaseInfo(lease, answer.granted_ttl, float(answer.ttl), tuple(keys))

    # --- compaction -------------------------------------------------------------------------------------

    async def do_compact(self, keep: int) -> int:
        """Compact the cluster, when the URL says that it is this store's own."""
        if not self.address.own_compaction:
            message = (
                "compacting forgets the history of the whole cluster, which is its operator's: with compaction=own in "
                "the URL the store may; else use etcd's --auto-compaction-retention"
            )
            raise Unsupported(message)
        revision = await self._reader.probe(0) - keep
        floor = await self._find_floor()
        if revision <= floor:
            return floor
        try:
            await self._cluster.read("Compact", messages.CompactionRequest(revision=revision))
        except (Compacted, FutureRevision):
            return await self._find_floor()
        self._floor = max(self._floor, revision)
        return self._floor

    async def _find_floor(self) -> int:
        """Return the revision up to which the cluster's history is compacted; etcd tells it to watches only."""
        since = max(self._floor, 1)
        try:
            await self._reader.look(messages.RangeRequest(key=self._layout.identity, revision=since))
        except Compacted:
            name = self._layout.identity
            events = Events(self._reader, Span(name, name + b"\0"), since - 1, self.counters, fresh=True)
            try:
                await events.next()
            except Compacted as told:
                self._floor = max(self._floor, told.revision)
            finally:
                events.close()
        return self._floor


def _reset(cut: Listing) -> Iterable[Batch]:
    changes = [Change(entry.key, entry) for entry in cut.entries]
    for at in range(0, max(len(changes), 1), _RESET_PART):
        part = changes[at : at + _RESET_PART]
        yield Batch(cut.revision, reset=True, complete=at + _RESET_PART >= len(changes), changes=part)


def _identity(value: bytes, address: Address) -> str:
    """Return the store's id from what lies under its identity's key."""
    try:
        found = json.loads(value)
        store, form = str(found["store"]), int(found["format"])
    except (ValueError, KeyError, TypeError) as error:
        message = f"what lies under {address.prefix}:id is no store's identity: {value[:80]!r}"
        raise Corrupt(message) from error
    if form != FORMAT:
        message = f"{address} has format {form}, this version of coordstore writes {FORMAT}: use the one that made it"
        raise VersionMismatch(message)
    return store


async def _to_the_end(work: Any) -> None:  # noqa: ANN401  (a coroutine)
    """Await work that must not be torn; cancelled: when it is done, the cancellation goes through."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled
    task.result()
