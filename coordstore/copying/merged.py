"""The source's changes of keys and its records as one sequence of steps, up to a cut.

Theory. A watch and a follow are each in revision order, but neither says "there is nothing more up to revision r". So a
cut is taken first: a list, which tells the keys at its revision, and then the heads. The watch has delivered all up
to the cut when what it told adds up to those keys, or when its next batch lies behind the cut; the follow, when it
has reached all heads, or when its next record lies behind the cut. In between, the lower revision goes first, and what
one transaction did to keys and streams becomes one step.

A follow does not tell that a stream was trimmed to its end or dropped: who waits for its records looks now and then.
And one that begins anew in the middle of a stream does not see that the stream was, too: the revision of the record
before tells.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from coordstore.copying.peek import Peek
from coordstore.copying.values import Changes, Drop, Keep, Skip, belongs, is_ours
from coordstore.errors import Trimmed
from coordstore.model import Record

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping

    from coordstore.copying.values import Cut, Step
    from coordstore.model import Batch, Entry
    from coordstore.store import CoordStore

__all__ = ["Merged", "Overtaken"]

_LOOK_AGAIN: Final = 1.0
"""Seconds without an expected record after which its stream is looked at."""


class Overtaken(Exception):
    """The watch began anew behind the cut, which therefore will never be reached."""


class Merged:
    """Reads a source; close it with `aclose`.

    Args:
        source: What is copied.
        with_leased: Whether keys on leases are wanted.
        position: The revision whose keys the destination has; None: of none.
        told: The source's keys at that position, each with its revision.
        cursor: For each stream, the last sequence that the destination has, and the revision of that record in the
            source; 0: it has been trimmed.
    """

    def __init__(
        self,
        source: CoordStore,
        *,
        with_leased: bool,
        position: int | None = None,
        told: Mapping[str, int] | None = None,
        cursor: Mapping[str, tuple[int, int]] | None = None,
    ) -> None:
        self.cursor = {stream: at for stream, (at, _) in (cursor or {}).items()}
        self._last = {stream: revision for stream, (_, revision) in (cursor or {}).items()}
        self._unsure: set[str] = set()
        self._source = source
        self._with_leased = with_leased
        self._batches = Peek(source.watch(since=position))
        self._following: Peek[Record] | None = None
        self._whole = position is not None
        self._told = dict(told or {})
        self._goal: dict[str, int] = {}
        self._behind: set[str] = set()
        self._heads: dict[str, int] = {}
        self._lag: set[str] = set()
        self._revision = 0

    async def aclose(self) -> None:
        """End the feeds."""
        await self._batches.aclose()
        await self._stop_following()

    async def anything(self) -> None:
        """Return when the source has something new to tell."""
        await asyncio.wait([self._batches.task, self._follow().task], return_when=asyncio.FIRST_COMPLETED)

    async def steps(self, cut: Cut) -> AsyncGenerator[Step]:
        """Yield what leads from where the destination is to a cut; do each step before you ask for the next.

        Raises:
            Overtaken: Take another cut and ask again.
        """
        self._aim(cut)
        for stream in sorted(stream for stream, at in self.cursor.items() if cut.heads.get(stream, 0) < at):
            yield await self._note(Drop(stream))  # it is gone, or was begun anew and has not come as far again
        async for gap in self._gaps():
            yield await self._note(gap)
        while True:
            batch, record = await self._next_batch(), await self._next_record()
            if isinstance(record, Skip | Drop):
                yield await self._note(record)
            elif record is not None and (batch is None or _before(record, batch)):
                yield Changes({}, await self._records_of(record.revision))
            elif batch is not None:
                for step in self._take(batch, await self._records_of(batch.revision)):
                    yield step
            else:
                return

    async def settle(self, cut: Cut) -> AsyncGenerator[Skip | Drop]:
        """Yield how far the streams of a cut are trimmed by now, and which were begun anew without being noticed."""
        for stream in sorted(cut.heads.keys() & self.cursor.keys()):
            at = self.cursor[stream]
            try:
                before = await self._source.read(stream, after=at - 1, limit=1)
                if before and self._last[stream] != before[0].revision <= cut.revision:
                    yield await self._note(Drop(stream))
                    continue
                await self._source.read(stream, limit=1)
            except Trimmed as gone:
                yield Skip(stream, min(gone.first - 1, at))

    def _aim(self, cut: Cut) -> None:
        self._revision, self._heads = cut.revision, dict(cut.heads)
        self._goal = {key: at for key, (at, _) in cut.keys.items()}
        self._behind = {key for key in self._goal.keys() | self._told.keys() if self._is_off(key)}
        self._lag = {stream for stream in cut.heads if self._lags(stream)}

    # --- keys -------------------------------------------------------------------------------------------

    async def _next_batch(self) -> Batch | None:
        """Return the next batch up to the cut, None when there is none."""
        if self._whole and not self._behind and not self._batches.ready:
            return None
        ahead = await self._batches.look()
        if ahead is not None and ahead.revision <= self._revision:
            return ahead
        if ahead is not None and ahead.reset:
            raise Overtaken
        return None

    def _take(self, batch: Batch, records: list[Record]) -> Iterator[Step]:
        self._batches.take()
        if batch.reset and self._whole:
            self._whole = False
            self._told.clear()
        writes: dict[str, bytes | None] = {}
        for change in batch.changes:
            if not is_ours(change.key):
                writes.update(self._tell(change.key, change.entry))
        yield Changes(writes, records, None if batch.reset else batch.revision)
        if batch.reset and batch.complete:
            self._whole = True
            self._behind = {key for key in self._goal.keys() | self._told.keys() if self._is_off(key)}
            yield Keep(frozenset(self._told), batch.revision)

    def _tell(self, key: str, entry: Entry | None) -> dict[str, bytes | None]:
        """Note what the watch tells of a key, and return what that means for the destination."""
        if entry is not None and belongs(entry, with_leased=self._with_leased):
            self._told[key] = entry.revision
            writes: dict[str, bytes | None] = {key: entry.value}
        else:
            writes = {key: None} if self._told.pop(key, None) is not None else {}
        (self._behind.add if self._is_off(key) else self._behind.discard)(key)
        return writes

    def _is_off(self, key: str) -> bool:
        return self._goal.get(key) != self._told.get(key)

    # --- streams ----------------------------------------------------------------------------------------

    def _follow(self) -> Peek[Record]:
        if self._following is None:
            after = {stream: at for stream, at in self.cursor.items() if at}
            self._following = Peek(self._source.follow(after=after))
            self._unsure = set(after)
        return self._following

    async def _stop_following(self) -> None:
        if self._following is not None:
            await self._following.aclose()
            self._following = None

    async def _next_record(self) -> Record | Skip | Drop | None:
        """Return the next record up to the cut, or what has to happen to its stream before; None: there is nothing."""
        while self._lag or (self._following is not None and self._following.ready):
            ahead = await self._look_ahead()
            if isinstance(ahead, Record):
                if ahead.revision > self._revision:
                    return None
                ahead = await self._in_turn(ahead)
            if ahead is not None:
                return ahead
        return None

    async def _look_ahead(self) -> Record | Skip | Drop | None:
        """Return the next record, or what is known of its stream instead; None: look again."""
        try:
            ahead = await self._follow().look(_LOOK_AGAIN)
        except Trimmed as gone:
            await self._stop_following()
            return None if gone.first - 1 == self.cursor.get(gone.stream, 0) else self._gone(gone)
        if ahead is None:
            async for gap in self._gaps():
                return gap
        return ahead

    async def _in_turn(self, ahead: Record) -> Record | Skip | Drop:
        at = self.cursor.get(ahead.stream, 0)
        if ahead.sequence > at + 1:
            return Skip(ahead.stream, ahead.sequence - 1)
        if ahead.sequence <= at or not await self._goes_on(ahead.stream, at):
            return Drop(ahead.stream)
        return ahead

    async def _goes_on(self, stream: str, at: int) -> bool:
        """Tell whether the record at the cursor is still the one that was read."""
        if stream in self._unsure:
            try:
                before = await self._source.read(stream, after=at - 1, limit=1)
            except Trimmed:
                before = []
            if before and before[0].revision != self._last[stream]:
                return False
            self._unsure.discard(stream)
        return True

    async def _records_of(self, revision: int) -> list[Record]:
        """Take the next records, as long as they are of one transaction."""
        found: list[Record] = []
        while isinstance(record := await self._next_record(), Record) and record.revision == revision:
            self._follow().take()
            self._set(record.stream, record.sequence, record.revision)
            found.append(record)
        return found

    async def _gaps(self) -> AsyncGenerator[Skip | Drop]:
        """Yield what a follow does not tell: streams that are gone meanwhile, or were trimmed behind the cursor."""
        for stream in sorted(self._lag):
            at = self.cursor.get(stream, 0)
            try:
                there = bool(await self._source.read(stream, after=at, limit=1))
            except Trimmed as gone:
                yield self._gone(gone)
                continue
            if not there:
                head = (await self._source.heads(stream)).get(stream, 0)
                self._heads[stream] = head
                self._lag.discard(stream)
                if head < at:
                    yield Drop(stream)

    def _gone(self, gone: Trimmed) -> Skip | Drop:
        begins = gone.first - 1
        return Drop(gone.stream) if begins < self.cursor.get(gone.stream, 0) else Skip(gone.stream, begins)

    async def _note(self, step: Skip | Drop) -> Skip | Drop:
        # The follow may have read on before: it must not tell of what is skipped, nor leave out what is begun anew.
        await self._stop_following()
        self._set(step.stream, step.upto if isinstance(step, Skip) else 0, 0)
        return step

    def _set(self, stream: str, sequence: int, revision: int) -> None:
        self.cursor[stream], self._last[stream] = sequence, revision
        if not sequence:
            del self.cursor[stream], self._last[stream]
        (self._lag.add if self._lags(stream) else self._lag.discard)(stream)

    def _lags(self, stream: str) -> bool:
        return self.cursor.get(stream, 0) < self._heads.get(stream, 0)


def _before(record: Record, batch: Batch) -> bool:
    """Tell whether a record goes first: one of the same revision too, when the batch is a state and no change."""
    return record.revision < batch.revision + batch.reset
