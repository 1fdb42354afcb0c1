"""What many agents and one are expected to take, what was measured, and a plan's work as one task."""

from __future__ import annotations

from typing import Any

import pytest

from coordstore.model import Put
from coordstore.session import State, events
from coordstore.session.session import Session
from coordstore.testing import MemoryStore
from coordstore_orchestrator.plan import Plan, build_plan, check_plan, plan_digest
from coordstore_orchestrator.plan.breakeven import Overheads, estimate, probed
from coordstore_orchestrator.plan.follow import followed
from coordstore_orchestrator.plan.history import _row, measured
from coordstore_orchestrator.plan.single import as_one

pytestmark = pytest.mark.req("P4")


def plan_of(*needs: list[str], **more: Any) -> Plan:
    tasks = [{"id": f"t{n}", "prompt": f"Do {n}.", "writes": [f"f{n}"], "needs": need} for n, need in enumerate(needs)]
    return build_plan({"goal": "g", "agent": {"command": ["true"]}, "tasks": tasks, **more})


def test_long_tasks_apart_are_better_with_many() -> None:
    found = estimate(plan_of([], [], [], []), Overheads(task=100, start=1, merge=2, conflicts=0, measured=9), 4)
    assert (found.sequential, found.parallel) == (403, 101 + 4 * 2)
    assert not found.one_is_better
    assert "many are better" in str(found)


def test_short_tasks_with_dear_merges_are_better_with_one() -> None:
    found = estimate(plan_of([], [], [], []), Overheads(task=1, start=5, merge=3, conflicts=0, measured=9), 4)
    assert (found.sequential, found.parallel) == (12, 6 + 4 * 3)
    assert found.one_is_better
    assert "one agent is better" in str(found)


def test_a_chain_is_never_better_with_many() -> None:
    assert estimate(plan_of([], ["t0"], ["t1"]), Overheads(task=100, start=1, merge=1, conflicts=0), 8).one_is_better


def test_slots_bound_what_runs_at_a_time() -> None:
    overheads = Overheads(task=10, start=0, merge=0, conflicts=0)
    assert [estimate(plan_of(*[[]] * 6), overheads, slots).parallel for slots in (1, 2, 3, 6)] == [60, 30, 20, 10]


def test_conflicts_are_paid_in_time_and_money() -> None:
    found = estimate(plan_of([], []), Overheads(task=100, start=0, merge=0, conflicts=0.5, cost=2), 2)
    assert (found.parallel, found.parallel_cost, found.sequential_cost) == (150, 6, 4)


def test_a_guess_says_that_it_is_one_and_knows_the_size_of_the_repository() -> None:
    guessed = probed(Overheads(), 100_000)
    assert guessed.start == pytest.approx(5)
    assert "guessed" in str(estimate(plan_of([], []), guessed, 2))
    known = Overheads(start=3, measured=7)
    assert probed(known, 100_000) is known


async def finished(
    store: MemoryStore, name: str, seconds: int, merged: tuple[bool, ...], work: float | None = None
) -> None:
    """Let a session of so many attempts have taken place, whose agents ran for `work` seconds."""
    session = Session(store, name)
    await session.create({"digest": "d"}, {f"t{n}": {"writes": []} for n in range(len(merged))})
    async with await store.grant(60) as lease:
        for n, landed in enumerate(merged):
            await session.assign((await session.view()).tasks[f"t{n}"], "c0")
            claim = await session.claim(f"t{n}.1", (), {"pid": 1}, lease)
            await claim.report(events.Usage(cost_usd=0.5))
            await claim.finish(State.COMPLETED, {"code": "completed", **({} if work is None else {"seconds": work})})
            began, ended = (f"2026-01-01T00:00:{second:02}.000000Z".encode() for second in (0, seconds))
            put = [Put(session.keys.agent(claim.agent, key), at) for key, at in (("started", began), ("ended", ended))]
            await store.transact(put, appends=[session.event(claim.agent, events.Integrated(merged=landed))])


async def test_what_attempts_took_is_read_from_the_store() -> None:
    async with MemoryStore() as store:
        assert (await measured(store)).measured == 0
        await finished(store, "s1", 30, (True, False))
        found = await measured(store)
    assert (found.measured, found.task, found.conflicts, found.cost) == (2, 30, 0.5, 0.5)


async def test_what_is_not_the_agent_s_work_is_paid_by_each_attempt() -> None:
    async with MemoryStore() as store:
        await finished(store, "s1", 30, (True,) * 5, work=2.5)
        found = await measured(store)
    assert (found.task, found.start) == (2.5, 27.5)
    assert estimate(plan_of([], [], [], []), found, 2).one_is_better
    assert not estimate(plan_of([], [], [], []), Overheads(task=30, start=0, merge=0, measured=5), 2).one_is_better


async def test_merges_come_one_after_the_other() -> None:
    """What waits for the one before it has not taken that long itself."""
    async with MemoryStore() as store:
        await finished(store, "s1", 30, (True,) * 3)
        whole = await measured(store)
        rows = [await _row(store, "s1", task.attempts[0]) for task in (await Session(store, "s1").view()).ordered()]
    apart = [(row.merged - row.ended).total_seconds() for row in rows if row.merged]
    assert whole.merge == pytest.approx(max(apart) / 3)


async def test_where_nothing_was_merged_a_merge_is_a_guess() -> None:
    async with MemoryStore() as store:
        await finished(store, "s1", 30, (False,))
        assert (await measured(store)).merge == Overheads().merge


async def test_a_run_follows_what_was_measured_unless_told() -> None:
    plan, said = plan_of([], ["t0"]), list[str]()
    async with MemoryStore() as store:
        how: dict[str, Any] = {"one": None, "slots": 8, "say": said.append}
        assert await followed(store, "new", plan, **how) == plan  # nothing was measured
        await finished(store, "s1", 30, (True,) * 5)
        single = await followed(store, "new", plan, **how)
        assert [task.id for task in single.tasks] == ["all"]
        assert "one agent is better" in said[0]
        assert await followed(store, "new", plan, **{**how, "one": False}) == plan
        assert await followed(store, "new", plan, **{**how, "slots": None}) == plan
        assert await followed(store, "new", plan, **{**how, "slots": None, "one": True}) == single
        await Session(store, "begun").create({"digest": plan_digest(plan)}, {"t0": {}, "t1": {}})
        assert await followed(store, "begun", plan, **how) == plan
        assert len(said) == 1


def test_one_task_does_the_work_of_all_in_their_order() -> None:
    plan = plan_of(["t1"], [])
    single = as_one(plan)
    assert single is not None
    check_plan(single)
    (task,) = single.tasks
    assert task.prompt.index("Do 1.") < task.prompt.index("Do 0.")
    assert set(task.writes) == {"f0", "f1"}


def test_one_agent_cannot_stand_for_two() -> None:
    assert as_one(plan_of([])) is None
    tasks = [{"id": n, "prompt": "p", "writes": [], "agent": {"command": [n]}} for n in "ab"]
    assert as_one(build_plan({"goal": "g", "tasks": tasks})) is None
