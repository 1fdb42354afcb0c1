"""Watch and follow for backends that keep their own change history: pull pages, wait, repeat.

The consumer pulls, so a slow one costs one page of memory; a page is read in one consistent cut that tells up to
which revision it reaches, so nothing falls between two pages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from coordstore.engine import trimmed
from coordstore.errors import StoreReplaced
from coordstore.model import Batch, Change
from coordstore.names import under

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from coordstore.model import Listing, Record

__all__ = ["ChangePage", "FeedSource", "Feeds", "FollowStart", "RecordPage"]

PAGE: Final = 512
"""Transactions or records in a page, about."""
RESET_PART: Final = 1000
"""Entries in one part of a reset."""


class ChangePage(NamedTuple):
    """Changes of a prefix in one cut: by transaction, up to and including revision `upto`."""

    batches: list[tuple[int, list[Change]]]
    upto: int
    floor: int
    more: bool


class RecordPage(NamedTuple):
    """Records of a prefix in one cut, in commit order, whole revisions, up to and including revision `upto`."""

    records: list[Record]
    upto: int
    more: bool


class FollowStart(NamedTuple):
    """Where a follow begins.

    Args:
        spans: For every stream there, (first sequence, head).
        cut: The store's revision.
        next_revisions: The revision of each record that is wanted next.
    """

    spans: dict[str, tuple[int, int]]
    cut: int
    next_revisions: list[int]


class FeedSource(Protocol):
    """What the feeds ask of a backend; each answer is one consistent cut."""

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Return a cut of a prefix."""

    async def changes_since(self, prefix: str, since: int, limit: int) -> ChangePage:
        """Return the changes of a prefix above a revision, about `limit` transactions, none split."""

    async def follow_start(self, prefix: str, after: Mapping[str, int]) -> FollowStart:
        """Return the streams under a prefix, and the revision of each record that follows a cursor."""

    async def records_since(self, prefix: str, since: int, limit: int) -> RecordPage:
        """Return the records of a prefix above a revision, about `limit`, no revision split."""

    async def changed(self, revision: int) -> None:
        """Return once the store's revision is above this one; raise `StoreClosed` when the handle is closed."""


class Feeds:
    """Watch and follow over a backend's history."""

    def __init__(self, source: FeedSource) -> None:
        self._source = source

    async def watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Deliver `CoordStore.watch`."""
        position = since
        while True:
            page = None if position is None else await self._source.changes_since(prefix, position, PAGE)
            if position is None or page is None or position < page.floor:
                async for part in self._reset(prefix):
                    yield part
                    position = part.revision
                continue
            if page.upto < position:
                raise _replaced(position, page.upto)
            for revision, changes in page.batches:
                yield Batch(revision, changes=changes)
            position = page.upto
            if not page.more:
                await self._source.changed(position)

    async def follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Deliver `CoordStore.follow`."""
        start = await self._source.follow_start(prefix, after)
        cursor = _cursor(start, prefix, after)
        position = min(start.next_revisions, default=start.cut + 1) - 1
        while True:
            page = await self._source.records_since(prefix, position, PAGE)
            if page.upto < position:
                raise _replaced(position, page.upto)
            for record in page.records:
                if _due(record, cursor, start.cut):
                    yield record
            position = page.upto
            if not page.more:
                await self._source.changed(position)

    async def _reset(self, prefix: str) -> AsyncGenerator[Batch]:
        cut = await self._source.do_list(prefix, None, None, keys_only=False)
        changes = [Change(entry.key, entry) for entry in cut.entries]
        for at in range(0, max(len(changes), 1), RESET_PART):
            part = changes[at : at + RESET_PART]
            yield Batch(cut.revision, reset=True, complete=at + RESET_PART >= len(changes), changes=part)


def _cursor(start: FollowStart, prefix: str, after: Mapping[str, int]) -> dict[str, int]:
    """Return where each stream stands for the reader, or raise for a place that is gone."""
    cursor = {name: first - 1 for name, (first, _) in start.spans.items()}
    for name, at in after.items():
        first, head = start.spans.get(name, (1, 0))
        if under(prefix, name) and not first - 1 <= at <= head:
            raise trimmed(name, first)
        cursor[name] = at
    return cursor


def _due(record: Record, cursor: dict[str, int], cut: int) -> bool:
    """Tell whether a record is to be delivered, and move the cursor; raise when records before it are gone."""
    last = cursor.get(record.stream, 0)
    if record.sequence <= last and record.revision <= cut:
        return False
    if record.sequence not in (last + 1, 1):
        raise trimmed(record.stream, record.sequence)
    cursor[record.stream] = record.sequence
    return True


def _replaced(position: int, revision: int) -> StoreReplaced:
    message = (
        f"revision {position} is ahead of the store, which is at {revision}: it was replaced or restored; start anew"
    )
    return StoreReplaced(message)
