"""The writing side of a copy: joins steps into transactions, and notes in the destination how far it is.

Transactions of the source are joined up to the limits of one, in order, and only one that does not fit into a single
transaction is split. The note that goes along says from which revision the source's keys go on; how far the streams
are, their heads tell. All of it is fenced by a key on this copy's lease, so of two copies one at most writes.

A trimmed stream keeps its sequences: empty records take the places of the lost ones, and are trimmed away.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Final

from coordstore.checkup.processes import is_dead, own_record
from coordstore.copying.values import COPIES, Changes, CopyRefused, Drop, Keep, Skip, is_ours
from coordstore.errors import Conflict
from coordstore.model import Append, Check, Delete, Put
from coordstore.names import TRANSACTION_BYTES_MAX, TRANSACTION_WRITES_MAX

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coordstore.copying.values import Step
    from coordstore.model import Entry, StoreInfo
    from coordstore.store import CoordStore, Lease

__all__ = ["Target"]

_TTL: Final = 10
"""Seconds after which another copy may go on when this one's process was killed."""
_PATIENCE: Final = 12.0
"""Seconds to wait for that."""
_AT_ONCE: Final = 16
"""Transactions of empty records at a time."""
_FORMAT: Final = 1


class Target:
    """The destination of one copy.

    Args:
        store: Where to write.
        source: What is copied.
    """

    def __init__(self, store: CoordStore, source: StoreInfo) -> None:
        self.store = store
        self.copied = 0
        self.resumed = False
        self._source = source
        self._note_key = f"{COPIES}/{hashlib.sha256(source.store_id.encode()).hexdigest()[:16]}"
        self._fence: Check | None = None
        self._position: int | None = None
        self._noted: int | None = None
        self._writes: dict[str, bytes | None] = {}
        self._appends: list[Append] = []
        self._size = 0

    @asynccontextmanager
    async def held(self, *, resume: bool) -> AsyncIterator[int | None]:
        """Be the one copy that writes, for the time of an ``async with``; give the position to go on from.

        Raises:
            CopyRefused: The destination holds something else, or another copy is at work.
        """
        found = await self._look(resume=resume)
        async with await self.store.grant(_TTL) as lease:
            await self._hold(lease)
            self._position = self._noted = found
            if not self.resumed:
                await self.store.put(self._note_key, self._note(), fence=self._fence)
            yield found

    async def do(self, step: Step) -> None:
        """Do a step of the source; what it writes may wait for `flush`."""
        match step:
            case Changes():
                await self._add(step)
            case Keep(keys, position):
                await self._keep(keys)
                self._position = position
            case Skip(stream, upto):
                await self.flush()
                await self._skip(stream, upto)
            case Drop(stream):
                await self.flush()
                await self.store.drop(stream)

    async def flush(self) -> None:
        """Write what waits, in one transaction."""
        writes = [Delete(key) if value is None else Put(key, value) for key, value in self._writes.items()]
        note = Put(self._note_key, self._note())
        room = len(writes) + len(self._appends) < TRANSACTION_WRITES_MAX
        fits = self._size + len(note.key) + len(note.value) <= TRANSACTION_BYTES_MAX
        noted = self._position != self._noted and room and fits
        if noted:
            writes.append(note)
        if writes or self._appends:
            await self.store.transact(writes, appends=self._appends, fence=self._fence)
            self.copied += len(self._writes) + len(self._appends)
        self._noted = self._position if noted else self._noted
        self._writes, self._appends, self._size = {}, [], 0

    # --- beginning --------------------------------------------------------------------------------------

    async def _look(self, *, resume: bool) -> int | None:
        entry = await self.store.get(self._note_key)
        if entry is not None and resume:
            self.resumed = True
            position = json.loads(entry.value).get("position")
            return position if isinstance(position, int) else None
        keys = [entry.key for entry in (await self.store.list(keys_only=True)).entries if not is_ours(entry.key)]
        streams = await self.store.heads()
        if entry is not None and (keys or streams):
            message = "the destination holds an earlier copy of this store: --resume goes on with it"
            raise CopyRefused(message)
        if keys or streams:
            some = ", ".join([*keys, *streams][:3])
            message = (
                f"the destination is not empty ({len(keys)} keys, {len(streams)} streams: {some} …) and holds no copy "
                "of this store: choose another one"
            )
            raise CopyRefused(message)
        return None

    async def _hold(self, lease: Lease) -> None:
        key = f"{self._note_key}/holder"
        mine = await asyncio.to_thread(own_record)
        while self._fence is None:
            found = await self.store.get(key)
            if found is not None:
                await self._wait_for(found)
            with contextlib.suppress(Conflict):
                token = await self.store.create(key, json.dumps(mine).encode(), lease)
                self._fence = Check(key, create_revision=token)

    async def _wait_for(self, found: Entry) -> None:
        """Return when another copy's holder key is gone: at once if its process is known to be, else with its lease."""
        other = json.loads(found.value)
        if await asyncio.to_thread(is_dead, other):
            with contextlib.suppress(Conflict):
                await self.store.delete(found.key, expect=found.revision)
            return
        try:
            async with asyncio.timeout(_PATIENCE), aclosing(self.store.watch(found.key)) as batches:
                async for batch in batches:
                    if not any(change.entry for change in batch.changes):
                        return
        except TimeoutError as error:
            message = (
                f"another copy of this store into the same destination is at work (process {other.get('pid')} on "
                f"{other.get('host')}): wait for it, or stop it"
            )
            raise CopyRefused(message) from error

    def _note(self) -> bytes:
        source = self._source
        note = {"format": _FORMAT, "source": source.store_id, "url": source.url, "position": self._position}
        return json.dumps(note).encode()

    # --- steps ------------------------------------------------------------------------------------------

    async def _add(self, step: Changes) -> None:
        """Let a step wait; it is never torn, unless it does not fit into one transaction."""
        size = sum(_size(key, value) for key, value in step.writes.items())
        size += sum(_size(record.stream, record.data) for record in step.records)
        if not self._fits(len(step.writes) + len(step.records), size):
            await self.flush()
        for key, value in step.writes.items():
            await self._room(_size(key, value))
            self._size -= _size(key, self._writes.pop(key)) if key in self._writes else 0
            self._writes[key] = value
            self._size += _size(key, value)
        for record in step.records:
            await self._room(_size(record.stream, record.data))
            self._appends.append(Append(record.stream, record.data))
            self._size += _size(record.stream, record.data)
        self._position = step.position or self._position

    async def _room(self, size: int) -> None:
        if not self._fits(1, size):
            await self.flush()

    def _fits(self, count: int, size: int) -> bool:
        waiting = len(self._writes) + len(self._appends)
        return waiting + count <= TRANSACTION_WRITES_MAX and self._size + size <= TRANSACTION_BYTES_MAX

    async def _keep(self, keys: frozenset[str]) -> None:
        await self.flush()
        there = await self.store.list(keys_only=True)
        extra = [entry.key for entry in there.entries if entry.key not in keys and not is_ours(entry.key)]
        await self._add(Changes(dict.fromkeys(extra), []))

    async def _skip(self, stream: str, upto: int) -> None:
        head = (await self.store.heads(stream)).get(stream, 0)
        while head < upto:
            count = min(upto - head, TRANSACTION_WRITES_MAX * _AT_ONCE)
            sizes = [min(TRANSACTION_WRITES_MAX, count - at) for at in range(0, count, TRANSACTION_WRITES_MAX)]
            await asyncio.gather(*(self.store.append(stream, [b""] * size, fence=self._fence) for size in sizes))
            head += count
            await self.store.trim(stream, head)
        await self.store.trim(stream, upto)


def _size(name: str, data: bytes | None) -> int:
    return len(name) + len(data or b"")
