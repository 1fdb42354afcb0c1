"""What attempts took, read from the sessions that a store holds: the measure of what is expected of the next ones."""

from __future__ import annotations

from datetime import datetime
from statistics import fmean
from typing import TYPE_CHECKING, Final

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
    merged = [row for row in rows if row[2] is not None]
    return Overheads(
        task=fmean(row[0] for row in rows),
        start=fmean(row[1] for row in rows),
        merge=fmean(row[2] or 0.0 for row in merged) if merged else Overheads().merge,
        conflicts=1 - len(merged) / len(rows),
        cost=fmean(row[3] for row in rows),
        measured=len(rows),
    )


async def _row(store: CoordStore, session: str, attempt: Attempt) -> tuple[float, float, float | None, float]:
    """Return the seconds of the work, of its start and of its merge (None: not merged), and its dollars.

    An attempt begins when a worker claims it; from then to the note that its agent runs is the start.
    """
    began, ended = (datetime.fromisoformat(attempt.text(name) or "") for name in ("started", "ended"))
    told = _decoded(await store.read(SessionKeys(session).stream(attempt.agent), 0, RECORDS))
    start, merge, cost = 0.0, None, 0.0
    for event in told:
        match event:
            case events.Note(text=text) if text.startswith("started in "):
                start = max(0.0, (event.at - began).total_seconds())
            case events.Integrated(merged=True):
                merge = max(0.0, (event.at - ended).total_seconds())
            case events.Usage():
                cost += event.cost_usd or 0.0
    return max(0.0, (ended - began).total_seconds() - start), start, merge, cost


def _decoded(records: Iterable[Record]) -> list[events.Event]:
    return [events.decode(record.data) for record in records]
