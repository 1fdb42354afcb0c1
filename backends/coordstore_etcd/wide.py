"""Transactions that have more conditions or operations than etcd takes flat: the same, in fewer or nested.

etcd allows 128 of each. A transaction of the contract may need more: 64 checks, each of two revisions, and 64
streams. So what is checked by two revisions is read first, after which the revision alone stands for both (one
revision of a key has one create revision); all heads are checked by one condition over their whole range, that
none was written since they were read, and that no stream was dropped; and operations go into nested transactions,
which etcd applies as one.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from coordstore_etcd.messages import LESS, TARGET_MOD, messages
from coordstore_etcd.writer import OPERATIONS_MAX, head_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.model import Check, Committed, Transaction
    from coordstore_etcd.layout import Layout
    from coordstore_etcd.reads import Reader
    from coordstore_etcd.writer import Head, Writer

__all__ = ["commit_wide"]

_PAUSE: Final = 0.05


async def commit_wide(writer: Writer, reader: Reader, txn: Transaction, streams: Sequence[str]) -> Committed:
    """Apply a transaction whose conditions or operations do not fit flat."""
    single = await _single(writer, reader, txn)
    for tried in count():
        cut, heads = await _heads(reader, streams)
        conditions, looks = writer.conditions(single)
        conditions += _unmoved(reader.layout, cut) if streams else ()
        operations = writer.operations(txn, heads)
        request = messages.TxnRequest(
            compare=conditions, success=_nested(operations, max(len(conditions), len(looks))), failure=looks
        )
        answer = await writer.send(txn, request, streams)
        if answer.succeeded:
            return writer.committed(txn, heads, answer)
        writer.refuse(single, answer.responses)
        writer.refuse(txn, answer.responses)
        await asyncio.sleep(_PAUSE * random.random() * min(tried, 4))  # noqa: S311  (to part those who collide)
    raise AssertionError


async def _single(writer: Writer, reader: Reader, txn: Transaction) -> Transaction:
    """Return the transaction with one revision in each check, after seeing that those with two hold."""
    _, looks = writer.conditions(txn)
    _, answers = await reader.look(*(look.range for look in looks))
    writer.refuse(txn, [messages.ResponseOp(range=answer) for answer in answers])
    fence = None if txn.fence is None else _by_one(txn.fence)
    return txn._replace(checks=tuple(map(_by_one, txn.checks)), fence=fence)


def _by_one(check: Check) -> Check:
    return check if check.revision is None else replace(check, create_revision=None)


async def _heads(reader: Reader, streams: Sequence[str]) -> tuple[int, dict[str, Head]]:
    """Return the heads of streams, and the revision at which they were read."""
    looks = [messages.RangeRequest(key=reader.layout.head(stream)) for stream in streams]
    cut, answers = await reader.look(*looks)
    return cut, {stream: head_of(answer) for stream, answer in zip(streams, answers, strict=True)}


def _unmoved(layout: Layout, cut: int) -> Sequence[Any]:
    heads = layout.area("h")
    return [
        messages.Compare(key=heads.low, range_end=heads.high, result=LESS, target=TARGET_MOD, mod_revision=cut + 1),
        messages.Compare(key=layout.drops, result=LESS, target=TARGET_MOD, mod_revision=cut + 1),
    ]


def _nested(operations: list[Any], used: int) -> list[Any]:
    """Return the operations in nested transactions; what the outer one uses of the limit, the inner ones lack."""
    size = OPERATIONS_MAX - used
    return [
        messages.RequestOp(txn=messages.TxnRequest(success=operations[at : at + size]))
        for at in range(0, len(operations), size)
    ]
