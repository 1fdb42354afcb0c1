"""What is decided, case by case and for any plan and any course of events; no store, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from coordstore.session import State
from coordstore_orchestrator.merge.conflicts import as_hint
from coordstore_orchestrator.monitor import decide as rules
from coordstore_orchestrator.monitor import recovery
from coordstore_orchestrator.monitor.decide import Assign, CancelTask, EndLost, Integrate, decide, settled
from coordstore_orchestrator.monitor.fallback import AddTask
from coordstore_orchestrator.monitor.subtasks import EndSubtask, Return
from tests.orchestrator.board import Board

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore_orchestrator.monitor.decide import Action

HINT = "An earlier attempt at this task ended without success: "


def three(attempts: int = 3) -> Board:
    return Board({"a": {"limits": {"attempts": attempts}}})


def returned() -> Board:
    """Give a task whose first attempt conflicted."""
    board = Board({"a": []}).attempt("a.1", "completed")
    board.put("merged/a", {"agent": "a.1", "merged": False, "refused": "conflicts", "returned": True, "work": "c1"})
    return board


def family() -> Board:
    """Give a task whose first attempt made a subtask."""
    return Board({"a": [], "a-1-1": {"parent": "a.1", "depth": 1, "base": "c0"}})


BACK = as_hint({"agent": "a.1", "refused": "conflicts", "work": "c1"})

CASES: dict[str, tuple[Board, list[Action]]] = {
    "a task without needs starts": (Board({"a": []}), [Assign("a", 1)]),
    "all that can start do, in the plan's order": (
        Board({"c": [], "a": [], "b": []}),
        [Assign("c", 1), Assign("a", 1), Assign("b", 1)],
    ),
    "a need that has not begun": (Board({"a": ["b"], "b": []}), [Assign("b", 1)]),
    "a need that runs": (Board({"a": ["b"], "b": []}).attempt("b.1", "running"), []),
    "a need that is completed but not merged": (
        Board({"a": ["b"], "b": []}).attempt("b.1", "completed"),
        [Integrate("b", "b.1")],
    ),
    "a need that is merged": (
        Board({"a": ["b"], "b": []}).attempt("b.1", "completed").merge("b"),
        [Assign("a", 1)],
    ),
    "one need of two is merged": (
        Board({"a": ["b", "c"], "b": [], "c": []}).attempt("b.1", "completed").merge("b").attempt("c.1", "pending"),
        [],
    ),
    "a need that failed": (
        Board({"a": ["b"], "b": []}).attempt("b.1", "failed"),
        [CancelTask("a", 1, "needs b, which failed")],
    ),
    "a need that failed and is tried again": (
        Board({"a": ["b"], "b": {"limits": {"attempts": 2}}}).attempt("b.1", "failed", reason="oh"),
        [Assign("b", 2, HINT + "oh", wait=1.0)],
    ),
    "a need that was cancelled": (
        Board({"a": ["b"], "b": []}).attempt("b.1", "cancelled"),
        [CancelTask("a", 1, "needs b, which was cancelled")],
    ),
    "a need that was refused at the merge": (
        Board({"a": ["b"], "b": []}).attempt("b.1", "completed").merge("b", "conflict"),
        [CancelTask("a", 1, "needs b, which was not merged")],
    ),
    "a need that is not there": (
        Board({"a": ["ghost"]}),
        [CancelTask("a", 1, "needs ghost, which this session does not have")],
    ),
    "one need failed while the other still runs": (
        Board({"a": ["b", "c"], "b": [], "c": []}).attempt("b.1", "running").attempt("c.1", "failed"),
        [CancelTask("a", 1, "needs c, which failed")],
    ),
    "cancelling goes down one step at a time": (
        Board({"a": ["b"], "b": ["c"], "c": []}).attempt("c.1", "failed"),
        [CancelTask("b", 1, "needs c, which failed")],
    ),
    "a subtask starts": (family().attempt("a.1", "running"), [Assign("a-1-1", 1)]),
    "a subtask whose parent has ended before it began": (
        family().attempt("a.1", "failed"),
        [CancelTask("a-1-1", 1, "its parent a.1 has ended")],
    ),
    "a running subtask whose parent has ended": (
        family().attempt("a.1", "failed").attempt("a-1-1.1", "running"),
        [EndSubtask("a-1-1", "a-1-1.1", "its parent a.1 has ended")],
    ),
    "a completed subtask returns and is not merged": (
        family().attempt("a.1", "running").attempt("a-1-1.1", "completed"),
        [Return("a-1-1", "a-1-1.1")],
    ),
    "a failed subtask returns too": (
        family().attempt("a.1", "running").attempt("a-1-1.1", "failed"),
        [Return("a-1-1", "a-1-1.1")],
    ),
    "a subtask whose parent is told": (
        family().attempt("a.1", "running").attempt("a-1-1.1", "completed").merge("a-1-1"),
        [],
    ),
    "a completed subtask that nobody waits for": (
        family().attempt("a.1", "failed").attempt("a-1-1.1", "completed"),
        [],
    ),
    "a pending attempt": (Board({"a": []}).attempt("a.1", "pending"), []),
    "a running attempt": (Board({"a": []}).attempt("a.1", "running"), []),
    "a lost attempt": (Board({"a": []}).attempt("a.1", "lost"), [EndLost("a.1")]),
    "a failed attempt, none left": (Board({"a": []}).attempt("a.1", "failed"), []),
    "a failed attempt, some left": (
        three().attempt("a.1", "failed", reason="r"),
        [Assign("a", 2, HINT + "r", wait=1.0)],
    ),
    "the last attempt failed": (
        three(2).attempt("a.1", "failed").attempt("a.2", "failed"),
        [],
    ),
    "a lost attempt costs none": (
        Board({"a": []}).attempt("a.1", "failed", "lost", "gone"),
        [Assign("a", 2, HINT + "gone")],
    ),
    "an interrupted attempt costs none": (
        Board({"a": []}).attempt("a.1", "cancelled", "interrupted"),
        [Assign("a", 2)],
    ),
    "a lost attempt after the last one": (
        three(1).attempt("a.1", "failed").attempt("a.2", "failed", "lost", "x"),
        [Assign("a", 3, HINT + "x")],
    ),
    "a cancelled attempt is not tried again": (three().attempt("a.1", "cancelled"), []),
    "a retry waits for needs too": (
        Board({"a": {"needs": ["b"], "limits": {"attempts": 2}}, "b": []}).attempt("a.1", "failed"),
        [Assign("b", 1)],
    ),
    "a status that is none counts as failed": (Board({"a": []}).attempt("a.1", "nonsense"), []),
    "work is merged in the order it was completed": (
        Board({"a": [], "b": [], "c": []})
        .attempt("b.1", "completed")
        .attempt("c.1", "completed")
        .attempt("a.1", "completed"),
        [Integrate("b", "b.1"), Integrate("c", "c.1"), Integrate("a", "a.1")],
    ),
    "merged and refused work is let be": (
        Board({"a": [], "b": []}).attempt("a.1", "completed").merge("a").attempt("b.1", "completed").merge("b", "no"),
        [],
    ),
    "work that goes back to its agent": (returned(), [Assign("a", 2, BACK)]),
    "work that went back and is under way": (returned().attempt("a.2", "running"), []),
    "work that went back and is done again": (returned().attempt("a.2", "completed"), [Integrate("a", "a.2")]),
    "work that went back and was lost": (
        returned().attempt("a.2", "failed", "lost", "gone"),
        [Assign("a", 3, f"{BACK}\n{HINT}gone")],
    ),
    "work that went back and failed then": (returned().attempt("a.2", "failed"), []),
    "work that conflicts once more and is left out": (
        returned().attempt("a.2", "completed").merge("a", "conflicts again"),
        [],
    ),
    "limits that are none": (Board({"a": {"limits": ["x"]}}).attempt("a.1", "failed"), []),
    "no tasks": (Board({}), []),
}


@pytest.mark.req("T2", "T3")
@pytest.mark.parametrize("case", CASES)
def test_what_is_decided(case: str) -> None:
    board, expected = CASES[case]
    assert decide(board.view()) == expected


@pytest.mark.parametrize("meta", [{"ready": False}, {}, [], "garbage"])
def test_of_a_session_that_is_not_ready_nothing_is_decided(meta: object) -> None:
    board = Board({"a": []}).attempt("a.1", "lost")
    board.put("meta", meta)
    assert decide(board.view()) == []


# Any plan, any course of events --------------------------------------------------------------------------------------


@st.composite
def plans(draw: st.DrawFn) -> dict[str, dict[str, Any]]:
    """Draw a plan without a cycle, its tasks in any order."""
    plan: dict[str, dict[str, Any]] = {}
    for number in range(draw(st.integers(1, 7))):
        needs = draw(st.sets(st.sampled_from(sorted(plan)), max_size=3)) if plan else set()
        plan[f"t{number}"] = {"needs": sorted(needs), "limits": {"attempts": draw(st.integers(1, 3))}}
    return {task: plan[task] for task in draw(st.permutations(sorted(plan)))}


def carry_out(board: Board, action: Action, refused: bool) -> None:
    """Do to the board what an action does to a session, refusing what may never be asked."""
    view = board.view()
    if isinstance(action, Assign | CancelTask):
        task = view.tasks[action.task]
        assert action.attempt == len(task.attempts) + 1
        assert all(attempt.state in (State.FAILED, State.CANCELLED) for attempt in task.attempts), "live or completed"
        free = [attempt.result["code"] in ("lost", "interrupted") for attempt in task.attempts]
        merged = [need for need in task.needs if view.merged(need).get("merged")]
        agent = f"{action.task}.{action.attempt}"
        if isinstance(action, Assign):
            assert merged == task.needs, "assigned before its needs were merged"
            assert free.count(False) < task.spec["limits"]["attempts"] or free[-1], "no attempts left"
            board.attempt(agent, "pending")
        else:
            need = action.reason.removeprefix("needs ").partition(",")[0]
            assert settled(view, view.tasks[need])
            assert need not in merged
            board.attempt(agent, "cancelled", reason=action.reason)
    elif isinstance(action, EndLost):
        attempt = view.attempt(action.agent)
        assert attempt is not None
        assert attempt.lost
        board.attempt(action.agent, "failed", "lost", "lost")
    elif isinstance(action, AddTask):
        board.put(f"tasks/{action.task}", {**action.spec, "limits": {"attempts": 1}})
    else:
        assert view.tasks[action.task].state is State.COMPLETED
        assert not view.merged(action.task), "merged twice"
        board.merge(action.task, "conflict" if refused else None)


ENDS = ["completed", "completed", "failed", "lost", "cancelled", "interrupted"]


def something_happens(board: Board, draw: Callable[[st.SearchStrategy[str]], str]) -> bool:
    """Let a worker or a person change one living attempt."""
    latest = [task.latest for task in board.view().ordered() if task.latest]
    live = [attempt for attempt in latest if attempt.state in (State.PENDING, State.RUNNING) and not attempt.lost]
    if not live:
        return False
    agent = draw(st.sampled_from([attempt.agent for attempt in live]))
    if board.view().entries.get(f"s1/agents/{agent}/claim") is None:
        board.attempt(agent, draw(st.sampled_from(["running", "running", "cancelled"])))
        return True
    end = draw(st.sampled_from(ENDS))
    board.attempt(agent, "cancelled" if end == "interrupted" else end, end)
    return True


def number(data: st.DataObject, highest: int) -> int:
    return data.draw(st.integers(0, highest))


def play(
    plan: dict[str, dict[str, Any]], data: st.DataObject, seen: Callable[[Board], None] = lambda _board: None
) -> Board:
    """Play a session to its end, each action and each event in a drawn order; show the board after each."""
    board = Board(plan)
    budget = 60
    while True:
        seen(board)
        actions = decide(board.view())
        about = [action.agent.partition(".")[0] if isinstance(action, EndLost) else action.task for action in actions]
        assert len(set(about)) == len(about), "two decisions on one task"
        if actions and number(data, 3):
            carry_out(board, actions[number(data, len(actions) - 1)], refused=not number(data, 4))
        elif budget and something_happens(board, data.draw):
            budget -= 1
        elif actions:
            carry_out(board, actions[0], refused=False)
        elif not finish_one(board):
            return board


def finish_one(board: Board) -> bool:
    """Once the budget of events is used up, let what lives be completed."""
    for task in board.view().ordered():
        if task.latest is not None and task.state in (State.PENDING, State.RUNNING):
            board.attempt(task.latest.agent, "completed")
            return True
    return False


def play_and_judge(plan: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    view = play(plan, data).view()
    for task in view.ordered():
        assert settled(view, task), f"{task.id} waits for ever in {task.state}"
        assert task.latest is not None
        missing = [need for need in task.needs if not view.merged(need).get("merged")]
        if missing:
            assert task.state in (State.CANCELLED, State.FAILED)
            assert not view.merged(task.id)
        if task.state is State.FAILED:
            spent = [attempt for attempt in task.attempts if attempt.result["code"] not in ("lost", "interrupted")]
            assert len(spent) == task.spec["limits"]["attempts"], "given up with attempts left"
            assert task.latest is spent[-1]


@pytest.mark.req("T1", "T2", "T3")
@given(plans(), st.data())
@settings(max_examples=60)
def test_every_session_settles_and_no_rule_is_broken_on_the_way(
    plan: dict[str, dict[str, Any]], data: st.DataObject
) -> None:
    play_and_judge(plan, data)


@given(plans(), st.data())
@settings(max_examples=30)
def test_deciding_twice_is_deciding_once(plan: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    view = play(plan, data).view()
    assert decide(view) == decide(view) == []


@pytest.mark.parametrize("bug", ["needs", "retries", "lost", "merged"])
def test_these_properties_catch_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rules.retries_left
    if bug == "needs":
        monkeypatch.setattr(rules, "_start", lambda _view, task: Assign(task.id, task.next_attempt))
    elif bug == "retries":
        monkeypatch.setattr(rules, "retries_left", lambda task, *_: task.state is State.FAILED or whole(task))
    elif bug == "lost":
        monkeypatch.setattr(recovery, "LOST", "gone")
    else:
        monkeypatch.setattr(rules, "settled", lambda _view, task: task.latest is not None and not whole(task))
        monkeypatch.setattr(rules, "_may_start", lambda _latest: True)
    quick = settings(max_examples=200, phases=[Phase.generate], database=None)
    with pytest.raises((AssertionError, KeyError)):
        quick(given(plans(), st.data())(play_and_judge))()
