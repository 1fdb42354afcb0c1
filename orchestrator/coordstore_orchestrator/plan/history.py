"""What attempts took, read from the sessions that a store holds: the measure of what is expected of the next ones."""

from __future__ import annotations

from datetime import datetime
from operator import itemgetter
from statistics import fmean
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.session import State, events
from coordstore.session.catalog import sessions
from coordstore.session.keys import SessionKeys
from coordstore_orchestrator.plan.breakeven import Overheads

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coordstore.model import Record
    from coordstore.session import Attempt
    from coordstore.store import CoordStore

__all__ = ["measured"]

ATTEMPTS: Final = 100
"""As many of the latest attempts are looked at."""
RECORDS: Final = 10_000
"""Records of one attempt that are looked at."""


async def measured(store: CoordStore) -> Overheads:
    """Return what the latest finished attempts of a store took; guesses where there are none. Writes nothing."""
    ended: list[tuple[str, Attempt]] = [
        (view.session, attempt)
        for view in await sessions(store)
        for task in view.ordered()
        for attempt in task.attempts
        if attempt.state in (State.COMPLETED, State.FAILED) and attempt.text("started") and attempt.text("ended")
    ][-ATTEMPTS:]
    rows = [await _row(store, name, attempt) for name, attempt in ended]
    if not rows:
        return Overheads()
    merges = _merges(rows)
    return Overheads(
        task=fmean(row.work for row in rows),
        start=fmean(row.took - row.work for row in rows),
        merge=fmean(merges) if merges else Overheads().merge,
        conflicts=1 - len(merges) / len(rows),
        cost=fmean(row.cost for row in rows),
        measured=len(rows),
    )


class _Row(NamedTuple):
    """One attempt: its session, seconds from claim to end and of its agent, when it ended and was merged, dollars."""

    session: str
    took: float
    work: float
    ended: datetime
    merged: datetime | None
    cost: float


def _merges(rows: Iterable[_Row]) -> list[float]:
    """Return what each merge took: they come one after the other, so what waited for one before did not take that."""
    found: list[float] = []
    before: dict[str, datetime] = {}
    merged_rows = [(row.merged, row) for row in rows if row.merged is not None]
    for merged, row in sorted(merged_rows, key=itemgetter(0)):
        began = max(row.ended, before.get(row.session, row.ended))
        found.append(max(0.0, (merged - began).total_seconds()))
        before[row.session] = merged
    return found


async def _row(store: CoordStore, session: str, attempt: Attempt) -> _Row:
    """Return what an attempt took; of one that does not tell how long its agent ran, that is until its end."""
    began, ended = (datetime.fromisoformat(attempt.text(name) or "") for name in ("started", "ended"))
    told = _decoded(await store.read(SessionKeys(session).stream(attempt.agent), 0, RECORDS))
    start, merged, cost = 0.0, None, 0.0
    for event in told:
        match event:
            case events.Note(text=text) if text.startswith("started in "):
                start = max(0.0, (event.at - began).total_seconds())
            case events.Integrated(merged=True):
                merged = event.at
            case events.Usage():
                cost += event.cost_usd or 0.0
    took = max(0.0, (ended - began).total_seconds())
    said = attempt.result.get("seconds")
    work = float(said) if isinstance(said, int | float) else took - start
    return _Row(session, took, min(max(work, 0.0), took), ended, merged, cost)


def _decoded(records: Iterable[Record]) -> list[events.Event]:
    return [events.decode(record.data) for record in records]
