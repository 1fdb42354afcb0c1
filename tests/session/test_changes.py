"""A change goes its way once, whoever decides, and everything that was decided stays to be read."""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Conflict, CoordError, Fenced, InvalidArgument, InvalidTransition
from coordstore.model import Check
from coordstore.plugins import open_store
from coordstore.session import State, events
from coordstore.session.changes import (
    ChangeState,
    change_in,
    changes_in,
    decide_change,
    move_of,
    note_change,
    open_change,
)
from coordstore.session.session import Session
from coordstore_orchestrator.monitor.decide import Integrate, decide

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.req("G3")
DECISIONS = [ChangeState.APPROVED, ChangeState.CHANGES_REQUESTED, ChangeState.REJECTED]
ENDS = [ChangeState.MERGED, ChangeState.REFUSED]
FIELDS = {"title": "t", "commit": "1" * 40, "reviewer": "person", "forge": "local"}


@pytest.fixture(params=["memory:", "sqlite:{}/store.db", "file:{}/store"])
async def session(request: Any, tmp_path: Path) -> AsyncIterator[Session]:
    """Give a session with one completed attempt, `t.1`, on each backend of this machine."""
    tmp_path.chmod(0o700)
    async with open_store(request.param.format(tmp_path)) as store, await store.grant(60) as lease:
        found = Session(store, "s")
        await found.create({"digest": "d"}, {"t": {}})
        await found.assign((await found.view()).tasks["t"], "0" * 40)
        claim = await found.claim("t.1", (), {"host": "h", "pid": 1}, lease)
        await claim.finish(State.COMPLETED, {"code": "completed", "commit": FIELDS["commit"]})
        yield found


async def opened(session: Session) -> None:
    attempt = (await session.view()).attempt("t.1")
    assert attempt is not None
    await open_change(session, attempt, FIELDS)


async def state(session: Session) -> ChangeState:
    change = change_in(await session.view(), "t.1")
    assert change is not None
    return change.state


async def test_work_in_review_is_not_offered_for_merging_and_decided_work_is(session: Session) -> None:
    assert decide(await session.view()) == [Integrate("t", "t.1")]
    await opened(session)
    assert decide(await session.view()) == []
    await decide_change(session, "t.1", ChangeState.APPROVED, "ann", "good")
    assert decide(await session.view()) == [Integrate("t", "t.1")]


async def test_every_other_move_is_refused_and_changes_nothing(session: Session) -> None:
    await opened(session)
    for end in [*ENDS, ChangeState.OPEN]:
        with pytest.raises(InvalidTransition):
            await decide_change(session, "t.1", end, "ann", "x")
    await decide_change(session, "t.1", ChangeState.REJECTED, "ann", "no")
    for any_state in ChangeState:
        with pytest.raises(InvalidTransition, match="is rejected already"):
            await decide_change(session, "t.1", any_state, "bob", "x")
    assert await state(session) is ChangeState.REJECTED


async def test_of_many_who_decide_at_once_one_does(session: Session) -> None:
    await opened(session)
    wanted = list(itertools.islice(itertools.cycle(DECISIONS), 12))
    tries = [decide_change(session, "t.1", each, f"r{number}", "x") for number, each in enumerate(wanted)]
    done = await asyncio.gather(*tries, return_exceptions=True)
    winners = [number for number, each in enumerate(done) if isinstance(each, int)]
    assert len(winners) == 1
    assert all(isinstance(each, int | Conflict | InvalidTransition) for each in done)
    change = change_in(await session.view(), "t.1")
    assert change is not None
    assert (change.state, change.text("by")) == (wanted[winners[0]], f"r{winners[0]}")


async def test_who_when_and_why_stay_in_the_record_and_among_the_events(session: Session) -> None:
    await opened(session)
    await decide_change(session, "t.1", ChangeState.CHANGES_REQUESTED, "ann", "more tests")
    (change,) = changes_in(await session.view())
    assert [(line["state"], line["by"]) for line in change.record["history"]] == [
        ("open", "coord"),
        ("changes-requested", "ann"),
    ]
    records = await session.store.read(session.keys.stream("t.1"))
    told = [event for record in records if isinstance(event := events.decode(record.data), events.Reviewed)]
    assert [(event.state, event.by, event.comment) for event in told] == [
        ("open", "coord", None),
        ("changes-requested", "ann", "more tests"),
    ]


async def test_a_change_is_opened_once_and_notes_do_not_overtake_decisions(session: Session) -> None:
    await opened(session)
    with pytest.raises(Conflict):
        await opened(session)
    (seen,) = changes_in(await session.view())
    await decide_change(session, "t.1", ChangeState.APPROVED, "ann")
    with pytest.raises(Conflict):
        await note_change(session, seen, {"url": "x"})
    assert await state(session) is ChangeState.APPROVED


async def test_who_no_longer_leads_opens_and_decides_nothing(session: Session) -> None:
    gone = Check(session.keys.leader, create_revision=7)
    attempt = (await session.view()).attempt("t.1")
    assert attempt is not None
    with pytest.raises(Fenced):
        await open_change(session, attempt, FIELDS, gone)
    await opened(session)
    with pytest.raises(Fenced):
        await decide_change(session, "t.1", ChangeState.APPROVED, "old leader", fence=gone)
    assert await state(session) is ChangeState.OPEN


async def test_changes_are_requested_in_words_and_of_what_there_is(session: Session) -> None:
    with pytest.raises(InvalidArgument, match=r"no change t\.1"):
        await decide_change(session, "t.1", ChangeState.APPROVED, "ann")
    await opened(session)
    with pytest.raises(InvalidArgument, match="say which changes"):
        await decide_change(session, "t.1", ChangeState.CHANGES_REQUESTED, "ann", "  ")


@pytest.mark.security(15)
async def test_a_record_that_somebody_spoiled_counts_as_open_and_can_be_decided(session: Session) -> None:
    await opened(session)
    for spoiled in (b"", b"[1]", b'{"state": 7, "history": "x"}', b'{"state": "merged!"}', b"\xff"):
        await session.store.put(session.keys.change("t.1"), spoiled)
        (change,) = changes_in(await session.view())
        assert change.state is ChangeState.OPEN
        move_of(change, ChangeState.APPROVED, "ann", "x" * 100_000)
        with pytest.raises(CoordError):
            move_of(change, ChangeState.MERGED, "ann")
