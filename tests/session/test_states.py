"""The state machine: its table is the only way from one state to another, and a refused move writes nothing."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import CoordError, Fenced, InvalidArgument, InvalidTransition
from coordstore.session import FINAL, TRANSITIONS, State, check_transition
from tests.session.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAIRS = list(itertools.product(State, State))
# Written out a second time, on purpose: the table in the code is what is tested.
ALLOWED = {
    ("pending", "running"),
    ("pending", "cancelled"),
    ("running", "completed"),
    ("running", "failed"),
    ("running", "cancelled"),
}


@pytest.mark.req("T1")
@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_the_table_allows_these_transitions_and_no_other(old: State, new: State) -> None:
    if (old.value, new.value) in ALLOWED:
        check_transition("t1.1", old, new)
    else:
        with pytest.raises(InvalidTransition, match=rf"t1\.1 .* from {old} to {new}; from {old} it can go to"):
            check_transition("t1.1", old, new)


@pytest.mark.req("T1")
def test_final_states_are_those_that_nothing_leaves() -> None:
    assert {"completed", "failed", "cancelled"} == FINAL
    assert set(TRANSITIONS) == set(State)


async def claim_it(stage: Stage, agent: str) -> None:
    await stage.claim(agent)


def end_as(new: State) -> Callable[[Stage, str], Awaitable[None]]:
    async def end(stage: Stage, agent: str) -> None:
        await stage.session.end(await stage.attempt(agent), new, {"reason": "from outside"})

    return end


async def cancel_by_request(stage: Stage, agent: str) -> None:
    await stage.session.request_cancel(agent, "enough")


MOVES = {
    "claim": (claim_it, {State.PENDING}),
    **{f"end as {new}": (end_as(new), {State.PENDING} if new is State.CANCELLED else set()) for new in State},
    "request to cancel": (cancel_by_request, {State.PENDING, State.RUNNING}),
}


@pytest.mark.req("T1", "T5")
@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("state", State)
async def test_a_move_that_the_state_does_not_allow_is_refused_and_writes_nothing(state: State, move: str) -> None:
    stage = await Stage().create("t1")
    agent = await stage.bring("t1", state)
    before = stage.contents()
    act, allowed = MOVES[move]
    if state in allowed:
        await act(stage, agent)
        assert stage.contents() != before
    else:
        with pytest.raises(CoordError):
            await act(stage, agent)
        assert stage.contents() == before


@pytest.mark.req("T1")
@pytest.mark.parametrize("state", [State.PENDING, State.RUNNING])
@pytest.mark.parametrize("again", ["assign", "cancel"])
async def test_a_task_with_a_living_attempt_gets_no_other(state: State, again: str) -> None:
    stage = await Stage().create("t1")
    await stage.bring("t1", state)
    before = stage.contents()
    task = await stage.task("t1")
    with pytest.raises(InvalidArgument, match=r"living attempt, t1\.1"):
        await (stage.session.assign(task, "c0") if again == "assign" else stage.session.cancel_unstarted(task, "no"))
    assert stage.contents() == before


@pytest.mark.req("T1", "T5")
@pytest.mark.parametrize("new", State)
@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED, State.CANCELLED])
async def test_a_worker_ends_its_attempt_once(state: State, new: State) -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    await claim.finish(state, {})
    before = stage.contents()
    with pytest.raises(InvalidTransition if new in (State.PENDING, State.RUNNING) else Fenced):
        await claim.finish(new, {})
    assert stage.contents() == before


@pytest.mark.req("T1")
@pytest.mark.parametrize("name", ["status", "claim", "result", "assignment", "cancel", "started", "ended"])
async def test_a_report_cannot_go_around_the_table(name: str) -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    before = stage.contents()
    with pytest.raises(InvalidArgument, match=name):
        await claim.report(**{name: "completed"})
    assert stage.contents() == before


@pytest.mark.req("T1", "T5")
@pytest.mark.parametrize("new", State)
async def test_a_lost_attempt_fails_or_is_cancelled_but_is_never_completed_from_outside(new: State) -> None:
    stage = await Stage().create("t1")
    await stage.running("t1")
    await stage.clock.advance(11)
    lost = await stage.attempt("t1.1")
    assert lost.lost
    if new in (State.FAILED, State.CANCELLED):
        await stage.session.end(lost, new, {"reason": "gone"})
        assert (await stage.attempt("t1.1")).state is new
    else:
        before = stage.contents()
        with pytest.raises(InvalidTransition):
            await stage.session.end(lost, new, {})
        assert stage.contents() == before
