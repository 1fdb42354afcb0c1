"""Resolvable transactions: a slot key written along makes the fate of a lost reply knowable.

Absence alone proves nothing: a stalled server may apply a write seconds after everybody looked. So each
resolvable transaction also checks and writes a *slot*, a key of its own hanging on the client's lease. To learn
its fate the slot is moved first, by compare-and-set on the same lease: if the slot already carries the
transaction's mark, it was applied, at the slot's revision; if the move succeeds, the check of the transaction
can never hold again (the slot stays as long as the lease, and the transaction's own put needs that lease).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from typing import TYPE_CHECKING, Final

from coordstore.errors import Conflict, CoordError, InvalidArgument, LeaseLost, OutcomeUnknown
from coordstore.model import Check, Put, Resolution, Transaction
from coordstore.names import check_key

if TYPE_CHECKING:
    from coordstore.model import Committed
    from coordstore.store.base import StoreBase
    from coordstore.store.lease import Lease

__all__ = ["Slots"]

PREFIX: Final = "@ops/"
LEASE_TTL: Final = 60
"""Seconds: how long after a client's death its slots, and so the answers, remain."""


class Slots:
    """The slots of one store handle."""

    def __init__(self, store: StoreBase) -> None:
        self._store = store
        self._client = os.urandom(8).hex()
        self._lease: Lease | None = None
        self._leases = contextlib.AsyncExitStack()
        self._granting = asyncio.Lock()
        self._free: list[tuple[str, int]] = []
        self._made = 0

    async def transact(self, txn: Transaction) -> Committed:
        """Apply a transaction together with a slot; on an unknown outcome tell the op that resolves it."""
        lease = await self._client_lease()
        key, revision = self._free.pop() if self._free else (self._new_key(), 0)
        mark = os.urandom(8).hex()
        op = json.dumps([key, mark, lease.id])
        with_slot = Transaction(
            (*txn.writes, Put(key, mark.encode(), lease.id)),
            (*txn.checks, Check(key, revision=revision)),
            txn.appends,
            txn.fence,
        )
        try:
            done = await self._store.commit(with_slot)
        except OutcomeUnknown as error:
            raise OutcomeUnknown(str(error), op=op) from error
        except Conflict as conflict:
            seen = {name: at for name, at in conflict.revisions.items() if name != key}
            if len(seen) < len(conflict.revisions):
                self._free.clear()
                message = f"the client's lease {lease.id} ended: call again"
                raise LeaseLost(message, lease=lease.id) from conflict
            self._free.append((key, revision))
            raise
        self._free.append((key, done.revision))
        return done

    async def resolve(self, op: str) -> Resolution:
        """Move the slot, then tell whether the transaction was applied."""
        key, mark, lease = _parse(op)
        while True:
            entry = await self._store.get(key)
            if entry is not None and entry.value == mark:
                return Resolution(applied=True, revision=entry.revision)
            try:
                await self._store.put(key, b"moved", expect=entry.revision if entry else 0, lease=lease)
            except Conflict:
                continue
            return Resolution(applied=False)

    async def aclose(self) -> None:
        """Revoke the client's lease, so that its slots go."""
        with contextlib.suppress(CoordError):
            await self._leases.aclose()

    def _new_key(self) -> str:
        self._made += 1
        return f"{PREFIX}{self._client}/{self._made}"

    async def _client_lease(self) -> Lease:
        async with self._granting:
            if self._lease is None or self._lease.lost:
                self._free.clear()
                self._lease = await self._leases.enter_async_context(await self._store.grant(LEASE_TTL))
            return self._lease


def _parse(op: str) -> tuple[str, bytes, int]:
    """Take an op apart; a text that names any other key than a slot is none: resolving writes that key."""
    try:
        key, mark, lease = json.loads(op)
        if check_key(key).startswith(PREFIX):
            return key, str(mark).encode(), int(lease)
    except (TypeError, ValueError):
        pass
    message = f"resolve takes the `op` of an OutcomeUnknown, not {op!r}"
    raise InvalidArgument(message)
