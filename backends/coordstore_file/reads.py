"""Every read of one cut: keys from memory, records from memory, from the log or from their homes, wherever they are."""

from __future__ import annotations

import heapq
import itertools
import struct
from typing import TYPE_CHECKING, Final

from coordstore.engine import trimmed
from coordstore.errors import Corrupt
from coordstore.names import under
from coordstore.store.feeds import ChangePage, FollowStart, RecordPage
from coordstore_file.frames import decode
from coordstore_file.log import unpack_place
from coordstore_file.mark import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from coordstore.engine import Commit
    from coordstore.model import Change, Record
    from coordstore_file.homes import Line, Reader
    from coordstore_file.journal import Journal
    from coordstore_file.replica import Stream

__all__ = ["changes", "commits_after", "follow_start", "read", "records"]

_PAGE_BYTES: Final = 4 * 1024 * 1024
_SCAN: Final = 20_000
"""Commits that one page looks at, at most, also when few of them are under the prefix."""
_REVISION: Final = struct.Struct("<Q")


def commits_after(journal: Journal, revision: int) -> Iterator[Commit]:
    """Yield the commits above a revision, which is not below the floor, up to the state's."""
    recent = journal.replica.commits_after(revision)
    return recent if recent is not None else _logged_after(journal, revision)


def _logged_after(journal: Journal, revision: int) -> Iterator[Commit]:
    log, end = journal.log, journal.at
    number = max(n for n in log.numbers() if n == log.numbers()[0] or log.segment(n).base <= revision)
    at = log.segment(number).offset_before(revision + 1)
    while number <= end.segment:
        segment = log.segment(number)
        last = end.offset if number == end.segment else log.segment(number + 1).before.offset
        reached = at
        for frame in log.frames(Place(number, at), last, None):
            reached = frame.end
            (told,) = _REVISION.unpack_from(frame.content)
            if told > revision:
                segment.note(told, frame.offset)
                yield decode(frame.content)
        if reached != last:
            raise log.damaged(Place(number, reached))
        number, at = number + 1, segment.start


def changes(journal: Journal, prefix: str, since: int, limit: int) -> ChangePage:
    """Return the changes of a prefix above a revision; see `FeedSource.changes_since`."""
    revision, floor = journal.replica.revision, journal.floor
    if since < floor or since >= revision:
        return ChangePage([], revision, floor, more=False)
    batches: list[tuple[int, list[Change]]] = []
    upto, size = since, 0
    for scanned, commit in enumerate(commits_after(journal, since)):
        if len(batches) >= limit or scanned >= _SCAN or size >= _PAGE_BYTES:
            return ChangePage(batches, upto, floor, more=True)
        found = [change for change in commit.changes if under(prefix, change.key)]
        if found:
            batches.append((commit.revision, found))
            size += sum(len(change.entry.value) for change in found if change.entry)
        upto = commit.revision
    return ChangePage(batches, revision, floor, more=False)


# --- records --------------------------------------------------------------------------------------------


def read(journal: Journal, homes: Reader, name: str, after: int, limit: int | None) -> list[Record]:
    """Return records of a stream; see `CoordStore.read`."""
    stream = journal.replica.streams.get(name)
    if stream is None:
        return []
    if after < stream.first - 1:
        raise trimmed(name, stream.first)
    return list(itertools.islice(_records_after(journal, homes, name, stream, after), limit))


def _records_after(journal: Journal, homes: Reader, name: str, stream: Stream, after: int) -> Iterator[Record]:
    wanted = after + 1
    if wanted <= stream.home.upto:
        for line in homes.after(name, stream, after):
            if line.record.sequence != wanted:
                raise _gap(name, wanted)
            yield line.record
            wanted += 1
        if wanted <= stream.home.upto:
            raise _gap(name, wanted)
    yield from _logged_records(journal, name, stream, wanted)


def _logged_records(journal: Journal, name: str, stream: Stream, wanted: int) -> Iterator[Record]:
    last = -1
    for sequence in range(wanted, stream.head + 1):
        place = stream.place(sequence)
        if place == last:
            continue
        last = place
        commit = decode(journal.log.frame(unpack_place(place)).content)
        found = [record for record in commit.records if record.stream == name and record.sequence >= sequence]
        if not found or found[0].sequence != sequence:
            raise journal.log.damaged(unpack_place(place))
        yield from found


def _gap(name: str, wanted: int) -> Corrupt:
    message = f"record {wanted} of stream {name!r} is not in its files: restore them from a backup; nothing was changed"
    return Corrupt(message)


def records(journal: Journal, homes: Reader, prefix: str, since: int, limit: int) -> RecordPage:
    """Return the records of a prefix above a revision; see `FeedSource.records_since`."""
    revision = journal.replica.revision
    if since >= revision:
        return RecordPage([], revision, more=False)
    if since < journal.moved:
        page = _settled(journal, homes, prefix, since, limit)
        if page.more or page.records:
            return page
        since = page.upto
    found: list[Record] = []
    upto, size = since, 0
    for scanned, commit in enumerate(commits_after(journal, since)):
        if len(found) >= limit or scanned >= _SCAN or size >= _PAGE_BYTES:
            return RecordPage(found, upto, more=True)
        mine = [record for record in commit.records if _alive(journal, prefix, record)]
        found += mine
        size += sum(len(record.data) for record in mine)
        upto = commit.revision
    return RecordPage(found, revision, more=False)


def _alive(journal: Journal, prefix: str, record: Record) -> bool:
    if not under(prefix, record.stream):
        return False
    stream = journal.replica.streams.get(record.stream)
    return stream is not None and record.revision >= stream.born and record.sequence >= stream.first


def _settled(journal: Journal, homes: Reader, prefix: str, since: int, limit: int) -> RecordPage:
    """Return a page of the records that have moved to their homes."""
    feeds = [
        _keyed(homes, name, stream, since)
        for name in journal.replica.names(prefix)
        if (stream := journal.replica.streams[name]).home.revision > since
    ]
    found: list[Record] = []
    size = 0
    for (revision, _, _), line in heapq.merge(*feeds, key=lambda item: item[0]):
        if (len(found) >= limit or size >= _PAGE_BYTES) and revision != found[-1].revision:
            return RecordPage(found, found[-1].revision, more=True)
        found.append(line.record)
        size += len(line.record.data)
    return RecordPage(found, journal.moved, more=journal.moved < journal.replica.revision)


def _keyed(homes: Reader, name: str, stream: Stream, since: int) -> Iterator[tuple[tuple[int, int, str], Line]]:
    for line in homes.since(name, stream, since):
        if line.record.sequence >= stream.first:
            yield (line.record.revision, line.position, name), line


def follow_start(journal: Journal, homes: Reader, prefix: str, after: Mapping[str, int]) -> FollowStart:
    """Return where a follow begins; see `FeedSource.follow_start`."""
    spans = journal.replica.spans(prefix)
    wanted = ((name, max(after.get(name, 0) + 1, first)) for name, (first, _) in spans.items())
    found = [_revision_of(journal, homes, name, sequence) for name, sequence in wanted]
    return FollowStart(spans, journal.replica.revision, [revision for revision in found if revision is not None])


def _revision_of(journal: Journal, homes: Reader, name: str, sequence: int) -> int | None:
    stream = journal.replica.streams[name]
    if sequence > stream.head:
        return None
    if sequence == 1:
        return stream.born
    if sequence > stream.home.upto:
        return decode(journal.log.frame(unpack_place(stream.place(sequence))).content).revision
    known = [file.revision for file in stream.home.files if file.sequence == sequence]
    return known[0] if known else next(homes.after(name, stream, sequence - 1)).record.revision
