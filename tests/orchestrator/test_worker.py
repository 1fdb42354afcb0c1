"""A worker on its own: what it claims, when it stops, and that no attempt stays running that nobody runs."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import CoordError, OutcomeUnknown, Unavailable
from coordstore.session import State, events
from coordstore.session.session import Session
from coordstore.testing import Clock, MemoryStore
from coordstore_orchestrator.monitor.decide import Assign, Integrate
from coordstore_orchestrator.monitor.leadership import lead
from coordstore_orchestrator.monitor.orchestrator import Orchestrator
from coordstore_orchestrator.worker.worker import INTERRUPTED, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coordstore.model import Committed, Transaction
    from coordstore.session import Attempt, SessionView, Task
    from coordstore.session.claim import Claim
    from coordstore_orchestrator.worker.stop import Stop

pytestmark = pytest.mark.usefixtures("quiet")


class Held:
    """Agents that run until the test lets them go; told to stop, they end as cancelled."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.cancelled: list[str] = []
        self.stopped: list[str] = []
        self.go: dict[str, asyncio.Event] = {}
        self.claims: dict[str, Claim] = {}

    async def run(self, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> None:
        assert attempt.task == task.id
        self.started.append(claim.agent)
        self.claims[claim.agent] = claim
        let_go = asyncio.ensure_future(self.go.setdefault(claim.agent, asyncio.Event()).wait())
        asked = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait({let_go, asked}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.cancelled.append(claim.agent)
            raise
        finally:
            let_go.cancel()
            asked.cancel()
        await self.end(claim, stop)

    async def end(self, claim: Claim, stop: Stop) -> None:
        if stop.asked:
            self.stopped.append(claim.agent)
            await claim.finish(State.CANCELLED, {"code": stop.code, "reason": stop.reason})
        else:
            await claim.finish(State.COMPLETED, {})


class Bench:
    """A session, a store whose next write can be made to fail, and a worker on it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.store = Faulty(clock=self.clock)
        self.session = Session(self.store, "s1")
        self.runner = Held()

    async def plan(self, **specs: dict[str, Any]) -> None:
        await self.session.create({"digest": "d"}, specs)
        for task in (await self.session.view()).ordered():
            await self.session.assign(task, "c0")

    @asynccontextmanager
    async def worker(self, slots: int = 2, **options: Any) -> AsyncIterator[Worker]:
        worker = Worker(self.session, options.pop("runner", self.runner), slots, {"pid": 1}, **options)
        serving = asyncio.create_task(worker.run())
        self.serving = serving
        try:
            await self.settle()
            yield worker
        finally:
            serving.cancel()
            with contextlib.suppress(asyncio.CancelledError, CoordError):
                await serving

    async def settle(self, seconds: float = 0.0) -> None:
        """Let everything happen that can happen in so much time."""
        for _ in range(4):
            await self.clock.advance(seconds / 4)

    async def states(self) -> dict[str, str]:
        view = await self.session.view()
        return {attempt.agent: str(attempt.state) for task in view.ordered() for attempt in task.attempts}


class Faulty(MemoryStore):
    """A store that fails the next write that touches a certain key."""

    fails: tuple[str, CoordError] | None = None
    applied = False

    async def do_transact(self, txn: Transaction) -> Committed:
        keys = [write.key for write in txn.writes]
        if self.fails is not None and any(key.endswith(self.fails[0]) for key in keys):
            error, self.fails = self.fails[1], None
            if self.applied:
                await super().do_transact(txn)
            raise error
        return await super().do_transact(txn)


@pytest.mark.req("W9")
async def test_it_claims_as_many_as_it_has_slots_by_priority_then_age() -> None:
    bench = Bench()
    await bench.plan(low={"priority": -1}, first={}, second={}, odd={"priority": "high"}, top={"priority": 5})
    async with bench.worker(slots=2):
        assert bench.runner.started == ["top.1", "first.1"]
        for agent in ("top.1", "first.1"):
            bench.runner.go[agent].set()
        await bench.settle()
        assert bench.runner.started[2:] == ["second.1", "odd.1"]


@pytest.mark.req("R3")
async def test_it_serves_its_classes_and_what_has_none() -> None:
    bench = Bench()
    await bench.plan(plain={}, gpu={"labels": ["gpu"]}, mac={"labels": ["mac"]})
    async with bench.worker(slots=9, classes=["gpu"]):
        assert sorted(bench.runner.started) == ["gpu.1", "plain.1"]
    async with bench.worker(slots=9, classes=["mac"]):
        assert "mac.1" in bench.runner.started


async def test_a_queue_entry_of_nothing_does_not_take_a_slot() -> None:
    bench = Bench()
    await bench.store.put("s1/queue/any/ghost.1", b"")
    await bench.store.put("s1/queue/any/t1.7", b"")
    await bench.store.put("s1/queue/other/t1.1", b"")
    await bench.plan(t1={}, mac={"labels": ["mac"]})
    await bench.store.put("s1/queue/gpu/mac.1", b"")
    async with bench.worker(slots=1, classes=["gpu"]):
        assert bench.runner.started == ["t1.1"]
        bench.runner.go["t1.1"].set()
        await bench.settle()
        assert bench.runner.started == ["t1.1"]


@pytest.mark.req("T5")
@pytest.mark.parametrize("how", ["raises", "is silent", "raises one of ours"])
async def test_a_runner_that_breaks_off_has_failed_and_the_slot_is_free(how: str) -> None:
    class Broken(Held):
        async def run(self, claim: Claim, attempt: Attempt, task: Task, stop: Stop) -> None:
            self.started.append(claim.agent)
            if how == "raises":
                raise KeyError(how + "\udce9")
            if how == "raises one of ours":
                raise CoordError(how)

    bench = Bench()
    await bench.plan(t1={}, t2={})
    async with bench.worker(slots=1, runner=Broken()):
        assert await bench.states() == {"t1.1": "failed", "t2.1": "failed"}
    attempt = (await bench.session.view()).attempt("t1.1")
    assert attempt is not None
    assert attempt.result["code"] == "broken"
    assert (attempt.reason or "").startswith("broke off")


@pytest.mark.req("S9", "T5")
@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize("error", [Unavailable("not reached"), OutcomeUnknown("no answer")])
async def test_an_end_that_cannot_be_recorded_ends_the_worker_and_the_attempt_is_not_left_running(
    error: CoordError, applied: bool
) -> None:
    bench = Bench()
    await bench.plan(t1={}, t2={})
    async with bench.worker():
        bench.store.fails = ("t1.1/status", error)
        bench.store.applied = applied
        bench.runner.go["t1.1"].set()
        await bench.settle()
        with pytest.raises(type(error)):
            await bench.serving
    assert bench.runner.cancelled == ["t2.1"]
    view = await bench.session.view()
    first, second = view.attempt("t1.1"), view.attempt("t2.1")
    assert first is not None
    assert second is not None
    assert second.lost
    assert first.state is State.COMPLETED if applied else first.lost


@pytest.mark.req("S9")
@pytest.mark.parametrize("applied", [False, True])
async def test_a_claim_of_unknown_outcome_ends_the_worker_and_no_agent_starts(applied: bool) -> None:
    bench = Bench()
    await bench.plan(t1={}, t2={})
    bench.store.fails = ("t1.1/status", OutcomeUnknown("no answer"))
    bench.store.applied = applied
    async with bench.worker():
        with pytest.raises(OutcomeUnknown):
            await bench.serving
    assert bench.runner.started == bench.runner.cancelled
    view = await bench.session.view()
    attempts = [view.attempt("t1.1"), view.attempt("t2.1")]
    assert all(each and (each.lost or each.state is State.PENDING) for each in attempts)


@pytest.mark.req("S9")
async def test_a_claim_that_lands_while_the_worker_gives_up_leaves_no_agent_behind() -> None:
    bench = Bench()
    await bench.plan(t1={}, t2={})
    claim, landed, released = bench.session.claim, asyncio.Event(), asyncio.Event()

    async def claim_or_fail(agent: str, *given: Any) -> Any:
        if agent == "t1.1":
            await landed.wait()
            raise OutcomeUnknown(agent)
        claimed = await claim(agent, *given)
        landed.set()
        await released.wait()
        return claimed

    bench.session.claim = claim_or_fail  # type: ignore[method-assign,assignment]  # one fails while another is slow
    async with bench.worker():
        await landed.wait()
        await bench.settle()
        released.set()
        with pytest.raises(OutcomeUnknown):
            await bench.serving
        await bench.settle()
    assert bench.runner.started == bench.runner.cancelled


@pytest.mark.req("W3")
async def test_a_request_to_cancel_reaches_the_agent() -> None:
    bench = Bench()
    await bench.plan(t1={}, t2={})
    async with bench.worker():
        await bench.session.request_cancel("t1.1", "enough")
        await bench.settle()
        assert await bench.states() == {"t1.1": "cancelled", "t2.1": "running"}


@pytest.mark.req("S9")
async def test_an_agent_whose_claim_was_taken_away_is_stopped_and_nothing_is_reported() -> None:
    bench = Bench()
    await bench.plan(t1={})
    async with bench.worker(slots=1):
        running = (await bench.session.view()).attempt("t1.1")
        assert running is not None
        await bench.session.drop_claim(running)
        await bench.settle()
        assert bench.runner.stopped == ["t1.1"]
        assert not bench.runner.claims["t1.1"].ended
        assert await bench.states() == {"t1.1": "running"}
        records = await bench.store.read("s1/events/t1.1")
        assert [type(events.decode(record.data)) for record in records] == [events.Assigned, events.StateChanged]
        lost = (await bench.session.view()).attempt("t1.1")
        assert lost is not None
        await bench.session.end(lost, State.FAILED, {"code": "lost"})
        await bench.session.assign((await bench.session.view()).tasks["t1"], "c0")
        await bench.settle()
        assert bench.runner.started == ["t1.1", "t1.2"]


@pytest.mark.req("M12")
async def test_a_drained_worker_claims_nothing_more_and_an_interrupted_one_stops() -> None:
    bench = Bench()
    await bench.plan(t1={}, t2={})
    async with bench.worker(slots=1) as worker:
        worker.drain()
        bench.runner.go["t1.1"].set()
        await bench.settle()
        assert await bench.states() == {"t1.1": "completed", "t2.1": "pending"}
    async with bench.worker(slots=1) as worker:
        worker.interrupt()
        await bench.settle()
        attempt = (await bench.session.view()).attempt("t2.1")
        assert attempt is not None
        assert (attempt.state, attempt.result["code"]) == (State.CANCELLED, INTERRUPTED)


async def test_an_interruption_reaches_what_was_just_being_claimed() -> None:
    bench = Bench()
    await bench.plan(t1={})
    claiming, released = asyncio.Event(), asyncio.Event()
    claim = bench.session.claim

    async def slow(*given: Any) -> Any:
        claiming.set()
        await released.wait()
        return await claim(*given)

    bench.session.claim = slow  # type: ignore[method-assign,assignment]  # a claim that takes its time
    async with bench.worker() as worker:
        await claiming.wait()
        worker.interrupt()
        released.set()
        await bench.settle()
        assert await bench.states() == {"t1.1": "cancelled"}


@pytest.mark.req("S9")
async def test_a_lost_lease_stops_all_agents() -> None:
    bench = Bench()
    await bench.plan(t1={}, t2={})
    async with bench.worker():
        for lease in list(bench.store.memory.leases):
            bench.store.memory.end([lease])
        await bench.settle(12)
        with pytest.raises(CoordError, match="lost its lease"):
            await bench.serving
    assert not any(claim.ended for claim in bench.runner.claims.values())


async def test_a_cancelled_worker_ends_its_agents_and_gives_up_its_claims() -> None:
    bench = Bench()
    await bench.plan(t1={})
    async with bench.worker():
        bench.serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await bench.serving
        assert bench.runner.cancelled == ["t1.1"]
    attempt = (await bench.session.view()).attempt("t1.1")
    assert attempt is not None
    assert attempt.lost
    assert bench.store.memory.leases == {}


class NoMerges:
    async def integrate(self, view: SessionView, action: Integrate) -> int:
        raise NotImplementedError


@pytest.mark.req("T2")
async def test_a_decision_that_a_person_s_cancel_overtook_is_not_carried_out() -> None:
    bench = Bench()
    await bench.session.create({"digest": "d"}, {"t1": {}})
    async with lead(bench.session, {"pid": 1}, lambda _holder: False) as leadership:
        orchestrator = Orchestrator(bench.session, leadership, "c0", NoMerges())
        await bench.session.cancel_unstarted((await bench.session.view()).tasks["t1"], "a person's")
        orchestrator.view = await bench.session.view()
        assert await orchestrator._do(Assign("t1", 1)) == 0
        assert await bench.states() == {"t1.1": "cancelled"}


class Told:
    """Notes when which task was merged."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.merged: dict[str, float] = {}

    async def integrate(self, view: SessionView, action: Integrate) -> int:
        self.merged[action.task] = self.bench.clock.now()
        record = {"agent": action.agent, "merged": True}
        return await self.bench.store.put(view.keys.merged(action.task), json.dumps(record).encode(), expect=0)


@pytest.mark.req("G1", "W9")
async def test_work_waits_to_be_merged_with_others_where_more_is_coming_and_nothing_needs_it() -> None:
    bench = Bench()
    await bench.session.create({"digest": "d"}, {"a": {}, "b": {}, "c": {}, "d": {"needs": ["c"]}})
    told, began = Told(bench), bench.clock.now()
    async with (
        lead(bench.session, {"pid": 1}, lambda _holder: False) as leadership,
        bench.worker(slots=3) as worker,
    ):
        orchestrator = Orchestrator(bench.session, leadership, "c0", told, gather=2.0)
        driving = asyncio.create_task(orchestrator.run())
        await bench.settle()
        assert worker.running == ["a.1", "b.1", "c.1"]
        bench.runner.go["a.1"].set()
        await bench.settle(1.0)
        assert told.merged == {}, "b and c are coming, and nothing needs a"
        await bench.settle(2.0)
        assert list(told.merged) == ["a"], "two seconds are enough"
        bench.runner.go["c.1"].set()
        await bench.settle()
        assert list(told.merged) == ["a", "c"], "d needs it"
        assert worker.running == ["b.1", "d.1"]
        bench.runner.go["b.1"].set()
        await bench.settle()
        assert "b" not in told.merged
        bench.runner.go["d.1"].set()
        await bench.settle()
        assert {*told.merged} == {*"abcd"}, "nothing more is coming"
        await driving
    assert bench.clock.now() - began == 3.0


async def test_a_session_without_tasks_is_done_at_once() -> None:
    bench = Bench()
    await bench.session.create({"digest": "d"}, {})
    async with lead(bench.session, {"pid": 1}, lambda _holder: False) as leadership:
        view = await Orchestrator(bench.session, leadership, "c0", NoMerges()).run()
    assert view.tasks == {}
