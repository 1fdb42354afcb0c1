"""Following streams: what there is at one revision, in the order of revisions, then what comes above it.

The streams' pages are merged by revision and place, so records of many streams come in the order of the
transactions that appended them, with a few pages in memory. Behind that cut a watch goes on. When compaction
overtakes it, there is another cut, and each stream goes on behind its last delivered record; a stream that was
dropped and begun anew is known by the revision that created its head.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from coordstore.engine import trimmed
from coordstore.model import Record
from coordstore.names import under
from coordstore_etcd.faults import Compacted
from coordstore_etcd.layout import Span
from coordstore_etcd.messages import DELETED
from coordstore_etcd.reads import fitting, ranged

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from coordstore_etcd.layout import Layout
    from coordstore_etcd.reads import Reader

__all__ = ["Follower"]

_AT_ONCE: Final = 64
"""Ranges in one request."""
_PAGE: Final = 128
_PAGE_LEAST: Final = 4


@dataclass(slots=True)
class _Source:
    """A stream's records at the cut that are still to come, a page at a time."""

    stream: str
    span: Span
    kvs: list[Any] = field(default_factory=list)
    at: int = 0
    more: bool = True
    size: int = _PAGE

    def take(self, answer: Any) -> None:  # noqa: ANN401  (a message)
        """Take a page in."""
        self.kvs, self.at, self.more = list(answer.kvs), 0, answer.more
        if answer.kvs:
            self.span = Span(answer.kvs[-1].key + b"\0", self.span.high)
            self.size = fitting(answer)


class Follower:
    """One follow.

    Args:
        reader: The store's reader.
        prefix: Of the streams.
        after: The caller's cursor.
    """

    def __init__(self, reader: Reader, prefix: str, after: Mapping[str, int]) -> None:
        self._reader = reader
        self._layout: Layout = reader.layout
        self._prefix = prefix
        self._cursor = {stream: at for stream, at in after.items() if under(prefix, stream)}
        self._born: dict[str, int] = {}
        self._first_cut = True
        self.cut = 0

    @property
    def span(self) -> Span:
        """The range to watch."""
        return self._layout.around("r", self._prefix)

    async def catch_up(self) -> AsyncGenerator[Record]:
        """Deliver what there is at one revision, which is `cut` afterwards.

        Raises:
            Trimmed: Records behind the cursor are gone.
        """
        while True:
            try:
                sources = await self._sources()
                async for record in self._merged(sources):
                    yield record
            except Compacted:
                continue
            else:
                return

    def take(self, events: list[Any]) -> list[Record]:
        """Return the records that a transaction appended.

        Raises:
            Trimmed: Records before one of them were never seen.
        """
        records = []
        for event in events:
            if event.type == DELETED:
                continue
            record = self._record(event.kv)
            if not under(self._prefix, record.stream):
                continue
            if record.sequence == 1:
                self._born[record.stream] = record.revision
            elif record.sequence != self._cursor.get(record.stream, 0) + 1:
                raise trimmed(record.stream, record.sequence)
            self._cursor[record.stream] = record.sequence
            records.append(record)
        return records

    # --- the cut ----------------------------------------------------------------------------------------

    async def _sources(self) -> list[_Source]:
        """Return the streams that have something to deliver, each with its first page."""
        self.cut, heads, _ = await self._reader.scan(self._layout.below("h", self._prefix))
        spans = {self._layout.name_of(kv.key): (int(kv.value), kv.create_revision) for kv in heads}
        if not self._first_cut:
            self._renew(spans)
        await self._check(spans)
        self._born = {stream: born for stream, (_, born) in spans.items()}
        behind = [stream for stream, (head, _) in spans.items() if self._cursor.get(stream, 0) < head]
        size = max(_PAGE // max(len(behind) // 8, 1), _PAGE_LEAST)
        sources = [
            _Source(stream, self._layout.records(stream, self._cursor.get(stream, 0)), size=size) for stream in behind
        ]
        for at in range(0, len(sources), _AT_ONCE):
            some = sources[at : at + _AT_ONCE]
            _, answers = await self._reader.look(*(ranged(each.span, each.size, self.cut) for each in some))
            for source, answer in zip(some, answers, strict=True):
                source.take(answer)
        for source in sources:
            self._begin(source, spans[source.stream][0])
        self._first_cut = False
        return [source for source in sources if source.kvs]

    def _renew(self, spans: Mapping[str, tuple[int, int]]) -> None:
        """Forget what was dropped since the last cut; what appeared behind it is wanted from its beginning."""
        known = {
            stream: at for stream, at in self._cursor.items() if self._born.get(stream) == spans.get(stream, (0, 0))[1]
        }
        self._cursor = {stream: known.get(stream, 0) for stream in spans}

    async def _check(self, spans: Mapping[str, tuple[int, int]]) -> None:
        """See that every stream of the cursor is there from the cursor on."""
        names = [stream for stream in self._cursor if stream in spans]
        firsts: dict[str, int] = {}
        for at in range(0, len(names), _AT_ONCE):
            some = names[at : at + _AT_ONCE]
            ranges = (ranged(self._layout.records(each), 1, self.cut, keys_only=True) for each in some)
            _, answers = await self._reader.look(*ranges)
            for stream, answer in zip(some, answers, strict=True):
                found = [self._layout.record_of(kv.key)[1] for kv in answer.kvs]
                firsts[stream] = found[0] if found else spans[stream][0] + 1
        for stream, reached in self._cursor.items():
            first = firsts.get(stream, 1)
            if not first - 1 <= reached <= spans.get(stream, (0, 0))[0]:
                raise trimmed(stream, first)

    def _begin(self, source: _Source, head: int) -> None:
        """See that nothing is missing before a stream's first record here."""
        first = self._record(source.kvs[0]).sequence if source.kvs else head + 1
        if source.stream in self._cursor and self._cursor[source.stream] != first - 1:
            raise trimmed(source.stream, first)
        self._cursor[source.stream] = first - 1

    async def _merged(self, sources: list[_Source]) -> AsyncGenerator[Record]:
        heap = [(*self._order(source), number) for number, source in enumerate(sources)]
        heapq.heapify(heap)
        while heap:
            source = sources[heap[0][-1]]
            record = self._record(source.kvs[source.at])
            source.at += 1
            if source.at == len(source.kvs) and source.more:
                _, (answer,) = await self._reader.look(ranged(source.span, source.size, self.cut))
                source.take(answer)
            if source.at < len(source.kvs):
                heapq.heapreplace(heap, (*self._order(source), heap[0][-1]))
            else:
                heapq.heappop(heap)
            self._cursor[record.stream] = record.sequence
            yield record

    def _order(self, source: _Source) -> tuple[int, int]:
        kv = source.kvs[source.at]
        return kv.mod_revision, self._layout.record_of(kv.key)[2]

    def _record(self, kv: Any) -> Record:  # noqa: ANN401  (a message)
        stream, sequence, _ = self._layout.record_of(kv.key)
        return Record(stream, sequence, kv.mod_revision, kv.value)
