"""Writing: a transaction of the contract as one transaction of etcd's, with the heads of its streams.

An append puts its records and moves its stream's head, on the condition that the head still is where this handle
believes it to be. When the conditions fail, the answer carries all that they were about, read in the same
transaction: the caller's own ones decide what is raised; when they held, only a head or two had moved on, which
proves that nothing was written: the transaction is sent again with the heads that were read.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from weakref import WeakValueDictionary

from coordstore.engine import check_failed, fenced, lease_lost
from coordstore.model import Committed, Put
from coordstore_etcd.faults import LeaseGone
from coordstore_etcd.messages import EQUAL, TARGET_CREATE, TARGET_MOD, messages

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterable, Mapping, Sequence

    from coordstore.errors import LeaseLost
    from coordstore.model import Check, Transaction
    from coordstore_etcd.layout import Layout
    from coordstore_etcd.reads import Reader

__all__ = ["ABSENT", "OPERATIONS_MAX", "Head", "Writer"]

OPERATIONS_MAX: Final = 128
"""etcd's own limit of conditions, and of operations, in a transaction."""
_HEADS_KEPT: Final = 10_000
_PATIENT: Final = 3
_PAUSE: Final = 0.02


class Head(NamedTuple):
    """A stream's head: the revision that wrote it, and its last sequence."""

    revision: int
    sequence: int


ABSENT: Final = Head(0, 0)


class Writer:
    """Writes of one store.

    Args:
        reader: The store's reader.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._layout: Layout = reader.layout
        self._heads: dict[str, Head] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        # What is asked for most often, one put, is filled in here each time and takes no new message.
        self._one_put = messages.TxnRequest(success=[messages.RequestOp(put=messages.PutRequest())])
        self._put = self._one_put.success[0].put

    def commit(self, txn: Transaction) -> Awaitable[Committed]:
        """Apply a transaction; appends to one stream wait for each other, so that they do not fail in turn."""
        if txn.appends:
            return self._append(txn)
        if txn.checks or txn.fence or len(txn.writes) != 1:
            return self._commit(txn, ())
        return self._one(txn)

    async def _one(self, txn: Transaction) -> Committed:
        """Do what is asked for most often: one write on no condition but that this still is the store."""
        write = txn.writes[0]
        if isinstance(write, Put):
            put = self._put
            put.key, put.value, put.lease = self._layout.key(write.key), write.value, write.lease or 0
            request = self._one_put.SerializeToString()
        else:
            request = messages.TxnRequest(success=[self._write(write)]).SerializeToString()
        answer = await self.send(txn, self._reader.guard + request)
        if not answer.succeeded:
            raise self._reader.gone()
        return Committed(answer.header.revision, 0 if isinstance(write, Put) else _deleted(answer))

    async def _append(self, txn: Transaction) -> Committed:
        streams = sorted({append.stream for append in txn.appends})
        if len(streams) == 1:
            async with self._locks.setdefault(streams[0], asyncio.Lock()):
                return await self._commit(txn, streams)
        async with AsyncExitStack() as held:
            for stream in streams:
                await held.enter_async_context(self._locks.setdefault(stream, asyncio.Lock()))
            return await self._commit(txn, streams)

    async def _commit(self, txn: Transaction, streams: Sequence[str]) -> Committed:
        conditions, looks = self._conditions(txn) if txn.checks or txn.fence else ((), ())
        if 1 + len(conditions) + len(streams) > OPERATIONS_MAX or operations(txn, streams) > OPERATIONS_MAX:
            from coordstore_etcd.wide import commit_wide

            return await commit_wide(self, self._reader, txn, streams)
        for tried in count():
            heads = {stream: self._heads.get(stream, ABSENT) for stream in streams}
            request = messages.TxnRequest(
                compare=[*conditions, *(self._unmoved(stream, head) for stream, head in heads.items())],
                success=self.operations(txn, heads),
                failure=[*looks, *(_look(self._layout.head(stream)) for stream in streams)],
            )
            # A message is the parts of its bytes: those about the store itself are always the same, and come first.
            answer = await self.send(txn, self._reader.guard + request.SerializeToString(), streams)
            if answer.succeeded:
                return self.committed(txn, heads, answer)
            self.refuse(txn, answer.responses)
            self._learn(streams, answer.responses[1 + len(looks) :])
            if tried >= _PATIENT:
                await asyncio.sleep(_PAUSE * random.random())  # noqa: S311  (to part those who collide)
        raise AssertionError

    async def send(self, txn: Transaction, request: Any, streams: Iterable[str] = ()) -> Any:  # noqa: ANN401  (messages)
        """Send a transaction; what is known of its streams' heads is forgotten when its outcome is not known."""
        before = self._reader.seen
        try:
            answer = await self._reader.cluster.write("Txn", request)
        except LeaseGone as error:
            raise await self._lease_lost(txn) from error
        except BaseException:
            self.forget(*streams)
            raise
        self._reader.saw(answer.header, before)
        return answer

    def forget(self, *streams: str) -> None:
        """Forget what is known of streams' heads."""
        for stream in streams:
            self._heads.pop(stream, None)

    def committed(self, txn: Transaction, heads: Mapping[str, Head], answer: Any) -> Committed:  # noqa: ANN401  (a message)
        """Return what an applied transaction did, and know its heads."""
        revision = answer.header.revision
        sequences = {stream: head.sequence for stream, head in heads.items()}
        for append in txn.appends:
            sequences[append.stream] += 1
        if len(self._heads) > _HEADS_KEPT:
            self._heads.clear()
        self._heads.update((stream, Head(revision, sequence)) for stream, sequence in sequences.items())
        return Committed(revision, _deleted(answer), sequences)

    # --- conditions -------------------------------------------------------------------------------------

    def conditions(self, txn: Transaction) -> tuple[list[Any], list[Any]]:
        """Return the conditions of a transaction but for its heads, and the looks that tell which one failed."""
        conditions, looks = self._conditions(txn)
        return [self._reader.same_store, *conditions], [self._reader.look_at_store, *looks]

    def _conditions(self, txn: Transaction) -> tuple[list[Any], list[Any]]:
        conditions: list[Any] = []
        looks = []
        for check in _checks(txn):
            conditions += self._compares(check)
            looks.append(_look(self._layout.key(check.key), keys_only=True))
        return conditions, looks

    def _compares(self, check: Check) -> Iterable[Any]:
        key = self._layout.key(check.key)
        if check.revision is not None:
            yield messages.Compare(key=key, result=EQUAL, target=TARGET_MOD, mod_revision=check.revision)
        if check.create_revision is not None:
            yield messages.Compare(key=key, result=EQUAL, target=TARGET_CREATE, create_revision=check.create_revision)

    def _unmoved(self, stream: str, head: Head) -> Any:  # noqa: ANN401  (a message)
        return messages.Compare(
            key=self._layout.head(stream), result=EQUAL, target=TARGET_MOD, mod_revision=head.revision
        )

    def refuse(self, txn: Transaction, responses: Sequence[Any]) -> None:
        """Raise for the first kind of condition that did not hold by what was looked at; else return."""
        if not responses[0].range.kvs or not self._is_same(responses[0].range.kvs[0]):
            raise self._reader.gone()
        looks = [(check, *_seen(response)) for check, response in zip(_checks(txn), responses[1:], strict=False)]
        if txn.fence is not None:
            (fence, *seen), *looks = looks
            if not fence.holds(*seen):
                raise fenced(fence, seen[1])
        failed = [look for look in looks if not look[0].holds(look[1], look[2])]
        if failed:
            raise check_failed(failed)

    def _is_same(self, kv: Any) -> bool:  # noqa: ANN401  (a message)
        return bool(kv.create_revision == self._reader.same_store.create_revision)

    def _learn(self, streams: Sequence[str], responses: Sequence[Any]) -> None:
        for stream, response in zip(streams, responses, strict=True):
            self._heads[stream] = head_of(response.range)

    # --- operations -------------------------------------------------------------------------------------

    def operations(self, txn: Transaction, heads: Mapping[str, Head]) -> list[Any]:
        """Return what a transaction does: its writes in their order, the records in theirs, the heads."""
        made = [self._write(write) for write in txn.writes]
        if not txn.appends:
            return made
        sequences = {stream: head.sequence for stream, head in heads.items()}
        for place, append in enumerate(txn.appends):
            sequences[append.stream] += 1
            key = self._layout.record(append.stream, sequences[append.stream], place)
            made.append(messages.RequestOp(put=messages.PutRequest(key=key, value=append.data)))
        for stream, sequence in sequences.items():
            put = messages.PutRequest(key=self._layout.head(stream), value=b"%d" % sequence)
            made.append(messages.RequestOp(put=put))
        return made

    def _write(self, write: Any) -> Any:  # noqa: ANN401  (Put or Delete; a message)
        key = self._layout.key(write.key)
        if isinstance(write, Put):
            return messages.RequestOp(put=messages.PutRequest(key=key, value=write.value, lease=write.lease or 0))
        return messages.RequestOp(delete=messages.DeleteRangeRequest(key=key))

    async def _lease_lost(self, txn: Transaction) -> LeaseLost:
        """Return the error that names the lease that is not there."""
        leases = sorted(
            {write.lease for write in txn.writes if isinstance(write, Put) and isinstance(write.lease, int)}
        )
        for lease in leases[:-1]:
            told = await self._reader.cluster.read("LeaseTimeToLive", messages.LeaseTimeToLiveRequest(id=lease))
            if told.ttl <= 0:
                return lease_lost(lease)
        return lease_lost(leases[-1])


def operations(txn: Transaction, streams: Sequence[str]) -> int:
    """Return how many operations a transaction takes."""
    return len(txn.writes) + len(txn.appends) + len(streams)


def head_of(answer: Any) -> Head:  # noqa: ANN401  (a message)
    """Return the head in an answer to a look at it."""
    return Head(answer.kvs[0].mod_revision, int(answer.kvs[0].value)) if answer.kvs else ABSENT


def _checks(txn: Transaction) -> tuple[Check, ...]:
    return txn.checks if txn.fence is None else (txn.fence, *txn.checks)


def _look(key: bytes, *, keys_only: bool = False) -> Any:  # noqa: ANN401  (a message)
    return messages.RequestOp(range=messages.RangeRequest(key=key, keys_only=keys_only))


def _seen(response: Any) -> tuple[int, int]:  # noqa: ANN401  (a message)
    found = response.range.kvs
    return (found[0].mod_revision, found[0].create_revision) if found else (0, 0)


def _deleted(answer: Any) -> int:  # noqa: ANN401  (a message)
    """Return how many keys a transaction removed, in nested ones too."""
    deleted = 0
    for response in answer.responses:
        kind = response.WhichOneof("op")
        if kind == "delete":
            deleted += response.delete.deleted
        elif kind == "txn":
            deleted += _deleted(response.txn)
    return deleted
