"""Streams: no search is needed, for every record is unique and the final read gives their order."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from coordstore.names import under
from coordstore.testing.history.attribute import WRITERS
from coordstore.testing.history.record import FAILED, OK, data, record_of_row
from coordstore.testing.history.replay import END
from coordstore.testing.history.violation import Violation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from coordstore.model import Record
    from coordstore.testing.history.history import Delivered, History
    from coordstore.testing.history.record import Operation

    Writers = list[Operation | None]

__all__ = ["check_streams"]


def check_streams(history: History) -> Iterator[Violation]:
    """Yield what is wrong with streams, reads and follows."""
    appends = _appends(history)
    writers = {
        name: [appends.get((name, record.data)) for record in records] for name, records in history.streams.items()
    }
    for name, records in history.streams.items():
        yield from _dense(name, records)
        yield from _in_time(name, writers[name])
        yield from _one_holder(name, writers[name])
    yield from _each_once(history, appends)
    for call in history.calls:
        if call.kind == "append" and call.outcome == OK:
            yield from _acknowledged(call, history.streams.get(call.key, []))
        if call.kind == "read" and call.outcome == OK:
            yield from _slice(call, history.streams.get(call.key, []), writers.get(call.key, []))
    for follow in history.follows:
        yield from _follow(follow, history)


def _appends(history: History) -> dict[tuple[str, bytes], Operation]:
    """Return who appended what."""
    calls = (call for call in history.calls if call.kind in WRITERS)
    return {(stream, data(found)): call for call in calls for stream, found in call.args["appends"]}


def _dense(name: str, records: list[Record]) -> Iterator[Violation]:
    sequences = [record.sequence for record in records]
    if sequences != list(range(1, len(records) + 1)):
        odd = next((found, at) for at, found in enumerate(sequences, 1) if found != at)
        yield Violation("sequence not dense", f"stream {name} has {odd[0]} where {odd[1]} belongs")
    revisions = [record.revision for record in records]
    if revisions != sorted(revisions):
        yield Violation("sequence not dense", f"the revisions of stream {name} go back")


def _each_once(history: History, appends: dict[tuple[str, bytes], Operation]) -> Iterator[Violation]:
    """Yield records that are not there exactly as often as their outcome allows."""
    found = {name: [record.data for record in records] for name, records in history.streams.items()}
    times: defaultdict[tuple[str, bytes], int] = defaultdict(int)
    for name, records in found.items():
        for each in records:
            times[name, each] += 1
            if (name, each) not in appends:
                yield Violation("invented record", f"stream {name} has {each!r}, which nobody appended")
    for (name, each), call in appends.items():
        count = times[name, each]
        allowed = {OK: (1, 1), FAILED: (0, 0)}.get(call.outcome, (0, 1))
        if name in found and not allowed[0] <= count <= allowed[1]:
            rule = "record lost" if count < allowed[0] else "record doubled" if count > 1 else "failed but applied"
            yield Violation(
                rule, f"{each!r} is in stream {name} {count} times, {call.outcome} allows {allowed}", (call,)
            )


def _acknowledged(call: Operation, records: list[Record]) -> Iterator[Violation]:
    """Yield an append whose records do not end at the sequence it returned."""
    wanted = [data(found) for _, found in call.args["appends"]]
    there = [record.data for record in records[max(call.value - len(wanted), 0) : call.value]]
    if there != wanted:
        yield Violation("wrong sequence", f"up to {call.value} stream {call.key} has {there}", (call,))


def _in_time(name: str, writers: Writers) -> Iterator[Violation]:
    """Yield records that stand before one whose append had ended before theirs began."""
    soonest, by = END, None
    for call in reversed(writers):
        if call is None:
            continue
        if call.call_ns > soonest and by is not None:
            yield Violation("real-time order", f"stream {name} has them the other way round", (by, call))
        if call.ret_ns is not None and call.outcome == OK and call.ret_ns < soonest:
            soonest, by = call.ret_ns, call


def _one_holder(name: str, writers: Writers) -> Iterator[Violation]:
    """Yield fenced appends under an older token behind those of a newer one."""
    highest: dict[str, int] = {}
    for call in writers:
        fence = call.args["fence"] if call is not None else None
        if call is None or not fence or not fence[2]:
            continue
        if fence[2] < highest.get(fence[0], 0):
            yield Violation("zombie accepted", f"stream {name}: token {highest[fence[0]]} came before", (call,))
        highest[fence[0]] = max(highest.get(fence[0], 0), fence[2])


def _slice(call: Operation, records: list[Record], writers: Writers) -> Iterator[Violation]:
    """Yield a read that is not a slice of the stream, too short for what had ended or too long for what had begun."""
    after, limit = call.args["after"], call.args["limit"]
    got = [record_of_row(call.key, found) for found in call.value]
    last = after + len(got)
    if got != records[after:last]:
        yield Violation("not a slice", f"stream {call.key} has {records[after:last]} there", (call,))
        return
    ended = [at for at, writer in enumerate(writers, 1) if writer and _ended_before(writer, call)]
    if ended and last < ended[-1] and (limit is None or len(got) < limit):
        by = writers[ended[-1] - 1]
        yield Violation("stale read", f"it ends at {last}, {ended[-1]} had been acknowledged", (call, by) if by else ())
    begun = writers[last - 1] if got else None
    if begun is not None and begun.call_ns > (call.ret_ns or END):
        yield Violation("read ahead", f"it has sequence {last} before that was appended", (call, begun))


def _ended_before(writer: Operation, call: Operation) -> bool:
    return writer.outcome == OK and writer.ret_ns is not None and writer.ret_ns < call.call_ns


def _follow(follow: Delivered, history: History) -> Iterator[Violation]:
    """Yield a follow that is not all records behind its cursor, once, in revision order, without a gap."""
    source = follow.source
    got = follow.records
    due = _due(source, history)
    if got != due[: len(got)]:
        at = next(at for at, record in enumerate(got) if at >= len(due) or record != due[at])
        wanted = due[at] if at < len(due) else "nothing"
        yield Violation("follow", f"record {at + 1} is {got[at]}, it should be {wanted}", (source,))


def _due(source: Operation, history: History) -> list[Record]:
    """Return all that a follow has to deliver, in order."""
    after = source.args["after"]
    names = [name for name in history.streams if under(source.key, name)]
    due = [record for name in names for record in history.streams[name][after.get(name, 0) :]]
    order = _orders(history, names)
    return sorted(
        due, key=lambda record: (record.revision, order.get((record.stream, record.data), 0), record.sequence)
    )


def _orders(history: History, names: Iterable[str]) -> dict[tuple[str, bytes], int]:
    """Return at which place in its transaction each record stands, for those of transactions of several streams."""
    wanted = set(names)
    calls = (call for call in history.calls if call.kind == "transact" and len(call.args["appends"]) > 1)
    return {
        (stream, data(found)): at
        for call in calls
        for at, (stream, found) in enumerate(call.args["appends"])
        if stream in wanted
    }
