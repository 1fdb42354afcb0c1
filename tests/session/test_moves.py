"""The moves of a session in all their races: who loses writes nothing, and a state and its event are one revision."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Conflict, CoordError, Fenced, InvalidArgument, InvalidTransition, LeaseLost
from coordstore.model import Check
from coordstore.session import SessionView, State, events
from coordstore.session.session import Session
from tests.session.stage import HOLDER, Stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Move = Coroutine[Any, Any, object]


async def outcomes(*moves: Move) -> list[object]:
    """Run moves side by side; return for each its result or its error."""
    return list(await asyncio.gather(*moves, return_exceptions=True))


def won(found: list[object]) -> int:
    """Count who succeeded; the others must have been told so by an error of ours."""
    errors = [each for each in found if isinstance(each, BaseException)]
    assert all(isinstance(error, CoordError) for error in errors), errors
    return len(found) - len(errors)


@pytest.mark.req("T1", "T2")
@pytest.mark.parametrize("claimers", [2, 20])
async def test_of_many_claimers_exactly_one_gets_it(claimers: int) -> None:
    stage = await Stage().create("t1")
    agent = await stage.assign("t1")
    found = await outcomes(*(stage.claim(agent) for _ in range(claimers)))
    assert won(found) == 1
    assert all(isinstance(each, Conflict) for each in found if isinstance(each, Exception))
    assert await stage.states() == {"t1.1": "running"}
    assert (await stage.session.view()).entries.get("s1/queue/any/t1.1") is None


@pytest.mark.req("T1", "S5")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_claim_against_cancel_against_request(order: tuple[int, ...]) -> None:
    stage = await Stage().create("t1")
    agent = await stage.assign("t1")
    pending = await stage.attempt(agent)
    moves: list[Move] = [
        stage.claim(agent),
        stage.session.end(pending, State.CANCELLED, {"reason": "stop"}),
        stage.session.request_cancel(agent, "stop"),
    ]
    found = await outcomes(*(moves[at] for at in order))
    claimed, ended = (not isinstance(found[order.index(at)], Exception) for at in (0, 1))
    assert claimed + ended == 1
    assert won(found) in (1, 2)
    attempt = await stage.attempt(agent)
    assert attempt.state is (State.RUNNING if claimed else State.CANCELLED)
    assert ("claim" in attempt.entries) == claimed


@pytest.mark.req("T1", "T2")
async def test_finish_against_end_of_a_lost_attempt() -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    view = await stage.session.view()
    await stage.session.drop_claim(view.tasks["t1"].attempts[0])
    lost = await stage.attempt("t1.1")
    ended = stage.session.end(lost, State.FAILED, {"reason": "lost"})
    found = await outcomes(claim.finish(State.COMPLETED, {}), ended)
    assert isinstance(found[0], Fenced)
    assert await stage.states() == {"t1.1": "failed"}


@pytest.mark.req("T5", "S9")
@pytest.mark.parametrize("drop", ["claim", "lease", "session"])
async def test_after_its_claim_is_gone_a_worker_writes_nothing(drop: str) -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    if drop == "claim":
        await stage.session.drop_claim(await stage.attempt("t1.1"))
    elif drop == "lease":
        await stage.clock.advance(10.5)
    else:
        await stage.session.delete()
    await stage.store.get("s1/meta")
    before = stage.contents()
    with pytest.raises(Fenced, match="no longer the holder"):
        await claim.finish(State.COMPLETED, {}, events.Note(text="done"))
    with pytest.raises(Fenced):
        await claim.report(events.Note(text="still here"), step=3)
    with pytest.raises(Fenced):
        await claim.report()
    assert not claim.ended
    assert stage.contents() == before


@pytest.mark.req("T3", "T5", "S9")
async def test_a_late_worker_cannot_touch_the_retry() -> None:
    stage = await Stage().create("t1")
    late = await stage.running("t1")
    await stage.clock.advance(10.5)
    await stage.session.end(await stage.attempt("t1.1"), State.FAILED, {"code": "lost", "reason": "lost"})
    second = await stage.running("t1")
    assert second.agent == "t1.2"
    assert second.token > late.token
    before = stage.contents()
    with pytest.raises(Fenced):
        await late.finish(State.COMPLETED, {"commit": "old"})
    assert stage.contents() == before
    await second.finish(State.COMPLETED, {"commit": "new"})
    assert await stage.states() == {"t1.1": "failed", "t1.2": "completed"}


@pytest.mark.req("S9")
async def test_an_old_claim_on_the_same_attempt_is_fenced_by_its_token() -> None:
    stage = await Stage().create("t1")
    old = await stage.running("t1")
    await stage.session.drop_claim(await stage.attempt("t1.1"))
    await stage.store.put("s1/agents/t1.1/claim", b"{}")  # held again, by somebody else
    with pytest.raises(Fenced):
        await old.finish(State.COMPLETED, {})


@pytest.mark.req("T1")
@pytest.mark.parametrize("assigners", [2, 10])
async def test_of_many_assigners_exactly_one_makes_the_attempt(assigners: int) -> None:
    stage = await Stage().create("t1")
    task = await stage.task("t1")
    moves: list[Move] = [stage.session.assign(task, "c0") for _ in range(assigners)]
    moves.append(stage.session.cancel_unstarted(task, "not wanted"))
    assert won(await outcomes(*moves)) == 1
    assert list(await stage.states()) == ["t1.1"]


@pytest.mark.req("T3")
async def test_a_retry_decided_on_an_old_view_is_refused() -> None:
    stage = await Stage().create("t1")
    await stage.bring("t1", State.FAILED)
    old = await stage.task("t1")
    await stage.bring("t1", State.FAILED)
    before = stage.contents()
    with pytest.raises(Conflict):
        await stage.session.assign(old, "c0")
    assert stage.contents() == before


@pytest.mark.req("T3")
async def test_every_attempt_keeps_its_own_record() -> None:
    stage = await Stage().create("t1")
    for number in range(1, 12):
        claim = await stage.running("t1")
        await claim.finish(State.FAILED, {"reason": f"reason {number}"}, events.Error(text=f"error {number}"))
    task = await stage.task("t1")
    assert [attempt.agent for attempt in task.attempts] == [f"t1.{number}" for number in range(1, 12)]
    assert [attempt.reason for attempt in task.attempts] == [f"reason {number}" for number in range(1, 12)]
    assert task.latest is task.attempts[-1]


@pytest.mark.req("S9")
async def test_a_replaced_leader_assigns_and_ends_nothing() -> None:
    stage = await Stage().create("t1", "t2")
    token = await stage.store.create("s1/leader", b"{}")
    fence = Check("s1/leader", create_revision=token)
    await stage.assign("t1", fence)
    await stage.store.delete("s1/leader")
    await stage.store.create("s1/leader", b"{}")
    pending = await stage.attempt("t1.1")
    before = stage.contents()
    for move in (
        stage.session.assign(await stage.task("t2"), "c0", fence=fence),
        stage.session.cancel_unstarted(await stage.task("t2"), "no", fence=fence),
        stage.session.end(pending, State.CANCELLED, {}, fence=fence),
    ):
        with pytest.raises(Fenced):
            await move
    assert stage.contents() == before


async def test_a_claim_needs_a_living_lease() -> None:
    stage = await Stage().create("t1")
    agent = await stage.assign("t1")
    lease = await stage.lease()
    await stage.clock.advance(11)
    with pytest.raises(LeaseLost):
        await stage.claim(agent, lease)
    assert await stage.states() == {"t1.1": "pending"}


async def test_a_running_attempt_is_ended_by_request_only() -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    with pytest.raises(InvalidArgument, match="living worker"):
        await stage.session.end(await stage.attempt("t1.1"), State.CANCELLED, {})
    await stage.session.request_cancel("t1.1", "enough \udce9")
    assert (await stage.attempt("t1.1")).text("cancel") == "enough \\udce9"
    await claim.finish(State.CANCELLED, {"reason": "enough"})
    with pytest.raises(InvalidTransition):
        await stage.session.request_cancel("t1.1", "again")


async def test_a_request_to_cancel_that_comes_too_late_is_a_conflict() -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    stage.store.before = ("s1/agents/t1.1/cancel", lambda: claim.finish(State.COMPLETED, {}))
    with pytest.raises(Conflict):
        await stage.session.request_cancel("t1.1", "stop")
    assert (await stage.attempt("t1.1")).text("cancel") is None


async def test_a_lost_attempt_that_is_held_again_is_not_ended() -> None:
    stage = await Stage().create("t1")
    await stage.running("t1")
    await stage.session.drop_claim(await stage.attempt("t1.1"))
    lost = await stage.attempt("t1.1")
    await stage.store.put("s1/agents/t1.1/claim", b"{}")
    with pytest.raises(Conflict):
        await stage.session.end(lost, State.FAILED, {})
    assert await stage.states() == {"t1.1": "running"}


@pytest.mark.parametrize("agent", ["t1.1", "t9.1"])
async def test_a_cancel_of_what_is_not_there_leaves_no_trace(agent: str) -> None:
    stage = await Stage().create("t1")
    before = stage.contents()
    with pytest.raises(InvalidArgument, match="no attempt"):
        await stage.session.request_cancel(agent, "x")
    assert stage.contents() == before


async def test_dropping_a_claim_that_is_gone_is_nothing_and_of_another_a_conflict() -> None:
    stage = await Stage().create("t1")
    await stage.running("t1")
    held = await stage.attempt("t1.1")
    await stage.session.drop_claim(held)
    await stage.session.drop_claim(await stage.attempt("t1.1"))
    await stage.store.put("s1/agents/t1.1/claim", b"{}")
    with pytest.raises(Conflict):
        await stage.session.drop_claim(held)


async def test_labels_choose_the_queue() -> None:
    stage = await Stage().create("plain", gpu={"labels": ["gpu", "big"]}, odd={"labels": "gpu"})
    for task in ("plain", "gpu", "odd"):
        await stage.assign(task)
    queued = [key for key in (await stage.session.view()).entries if "/queue/" in key]
    assert queued == ["s1/queue/any/odd.1", "s1/queue/any/plain.1", "s1/queue/gpu/gpu.1"]
    await stage.session.end(await stage.attempt("gpu.1"), State.CANCELLED, {})
    await stage.claim("odd.1")
    assert [key for key in (await stage.session.view()).entries if "/queue/" in key] == ["s1/queue/any/plain.1"]


def statuses(stage: Stage) -> Iterator[tuple[int, str, str]]:
    for commit in stage.store.memory.state.history:
        for change in commit.changes:
            _, _, rest = change.key.partition("/agents/")
            if rest.endswith("/status") and change.entry is not None:
                yield commit.revision, rest.removesuffix("/status"), change.entry.value.decode()


@pytest.mark.req("T1", "S8")
async def test_every_state_and_the_event_that_tells_of_it_are_one_revision() -> None:
    stage = await Stage().create("a", "b", "c", "d", "e")
    for task, state in zip("abc", (State.COMPLETED, State.FAILED, State.CANCELLED), strict=True):
        await stage.bring(task, state)
    await stage.session.cancel_unstarted(await stage.task("d"), "never")
    await stage.running("e")
    await stage.clock.advance(11)
    await stage.session.end(await stage.attempt("e.1"), State.FAILED, {"reason": "lost"})
    told = {}
    for agent in await stage.states():
        for record in await stage.store.read(stage.keys.stream(agent)):
            event = events.decode(record.data)
            assert isinstance(event, events.Assigned | events.StateChanged)
            told[record.revision, agent] = "pending" if isinstance(event, events.Assigned) else event.new
    assert told == {(revision, agent): state for revision, agent, state in statuses(stage)}


def hold_status_back(plant: pytest.MonkeyPatch) -> None:
    """Plant: the state and its event are two transactions."""
    whole = Session.claim

    async def split(self: Session, agent: str, *rest: Any) -> object:
        claim = await whole(self, agent, *rest)
        await self.store.transact(appends=[self.event(agent, events.StateChanged(old="pending", new="running"))])
        return claim

    plant.setattr(Session, "claim", split)


def claim_blindly(plant: pytest.MonkeyPatch) -> None:
    """Plant: a claim that checks nothing."""
    transact = Session.claim

    async def blind(self: Session, agent: str, labels: Any, holder: Any, lease: Any) -> object:
        found = await self.store.get(self.keys.queued(tuple(labels), agent))
        if found is None:
            return await transact(self, agent, labels, holder, lease)
        await self.store.delete(found.key)
        await self.store.put(self.keys.agent(agent, "status"), b"running")
        return await self.store.put(self.keys.agent(agent, "claim"), b"{}", lease=lease)

    plant.setattr(Session, "claim", blind)


@pytest.mark.parametrize(
    ("plant", "test"),
    [
        (hold_status_back, test_every_state_and_the_event_that_tells_of_it_are_one_revision),
        (claim_blindly, lambda: test_of_many_claimers_exactly_one_gets_it(20)),
    ],
)
async def test_these_tests_catch_what_they_are_for(
    plant: Callable[[pytest.MonkeyPatch], None],
    test: Callable[[], Coroutine[Any, Any, None]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plant(monkeypatch)
    with pytest.raises(AssertionError):
        await test()


async def test_the_holder_is_told_to_people() -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    await claim.report(pid=41, worktree="/x/caf\udce9", step=2)
    view: SessionView = await stage.session.view()
    shown = view.as_json()["tasks"][0]["attempts"][0]
    assert (shown["host"], shown["pid"], shown["step"], shown["worktree"]) == (HOLDER["host"], 41, 2, "/x/caf\\udce9")


async def test_a_report_of_any_size_ends_the_attempt() -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    long = "x" * 300_000
    told = [events.Note(text=f"{number}") for number in range(100)]
    files = events.FilesChanged(paths=tuple(f"{number}/{'y' * 4000}" for number in range(100)), count=100)
    await claim.finish(State.FAILED, {"reason": long}, *told, files)
    assert claim.ended
    found = [events.decode(record.data) for record in await stage.store.read(stage.keys.stream("t1.1"))]
    assert [each.text for each in found if isinstance(each, events.Note)] == [f"{number}" for number in range(100)]
    assert isinstance(found[-1], events.StateChanged)
    assert found[-1].reason is not None
    assert found[-1].reason.endswith("(300000 characters)")
    assert (await stage.attempt("t1.1")).reason == long
