"""What follows a failed attempt: bounded, each time in another way, and the same for whoever asks."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coordstore.hookspecs import hookimpl
from coordstore.testing import Clock, MemoryStore
from coordstore_orchestrator.monitor import fallback, recovery
from coordstore_orchestrator.monitor.backoff import Backoff
from coordstore_orchestrator.monitor.decide import Assign, decide, over, settled
from coordstore_orchestrator.monitor.detect.registry import watch_plugins
from coordstore_orchestrator.monitor.fallback import AddTask
from coordstore_orchestrator.monitor.recovery import Failure, Retry, UnknownRecovery, policies, retry_of
from tests.orchestrator.board import Board


def stopped(board: Board, agent: str, detector: str = "stall", commit: str = "c0") -> Board:
    """Let a detector have stopped an attempt."""
    board.attempt(agent, "failed")
    board.put(f"agents/{agent}/assignment", {"base": "c0"})
    board.put(f"agents/{agent}/verdict", {"code": detector, "hint": "be quick"})
    board.put(f"agents/{agent}/result", {"code": detector, "reason": "hung", "commit": commit})
    return board


def retries(board: Board) -> Retry | None:
    return retry_of(board.view().tasks["a"])


@pytest.mark.req("M8")
def test_each_time_in_another_way_and_never_for_ever() -> None:
    board = stopped(Board({"a": []}), "a.1")
    first = retries(board)
    assert first == Retry("An earlier attempt at this task ended without success: hung\nbe quick", 0, 1.0)
    second = retries(stopped(board, "a.2", commit="c7"))
    assert second is not None
    assert (second.other, second.wait) == (1, 2.0)
    assert str(second.hint).splitlines()[2:] == [
        "The work of that attempt is on the branch a.2 at c7: look at it, take what is good.",
        recovery.SMALLER,
    ]
    assert retries(stopped(board, "a.3")) is None
    assert settled(board.view(), board.view().tasks["a"])


@pytest.mark.req("M8")
def test_what_was_no_detectors_is_tried_as_often_as_the_task_says() -> None:
    assert retries(Board({"a": []}).attempt("a.1", "failed", "steps", "over")) is None
    many = Board({"a": {"limits": {"attempts": 12}}})
    waits = []
    for number in range(1, 12):
        many.attempt(f"a.{number}", "failed", reason="r")
        found = retries(many)
        assert found is not None
        assert found.other == 0
        waits.append(found.wait)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60]
    assert retries(many.attempt("a.12", "failed")) is None
    one = stopped(Board({"a": {"limits": {"attempts": 1}}}), "a.1")
    assert retries(one) is None, "the task's own limit counts"


@pytest.mark.req("M8")
def test_a_persons_cancel_is_final_and_their_retry_is_not() -> None:
    board = Board({"a": []}).attempt("a.1", "cancelled", reason="no")
    assert retries(board) is None
    board.put("agents/a.1/retry", "try the other door")
    assert decide(board.view()) == [Assign("a", 2, "try the other door")]
    assert not settled(board.view(), board.view().tasks["a"])
    assert decide(board.attempt("a.2", "failed").view()) == [], "it is asked for once"


def stubborn(failure: Failure) -> Retry | None:
    return Retry(f"try {failure.spent}") if failure.spent < 3 else None


class Plugin:
    @hookimpl
    def register_recoveries(self, register: Any) -> None:
        register("stubborn", stubborn)


@pytest.mark.req("M11")
def test_a_plugin_brings_a_policy_of_its_own() -> None:
    plugin = Plugin()
    watch_plugins().register(plugin)
    policies.cache_clear()
    try:
        board = Board({"a": []}).attempt("a.1", "failed")
        board.put("meta", {"order": ["a"], "ready": True, "recovery": "stubborn"})
        assert decide(board.view()) == [Assign("a", 2, "try 1")]
        board.attempt("a.2", "failed").attempt("a.3", "failed")
        assert decide(board.view()) == []
        with pytest.raises(UnknownRecovery, match="no recovery policy 'bold': there are standard, stubborn"):
            retry_of(board.view().tasks["a"], "bold")
    finally:
        watch_plugins().unregister(plugin)
        policies.cache_clear()


@pytest.mark.req("M8")
async def test_an_attempt_waits_for_its_time_on_the_stores_clock() -> None:
    clock = Clock()
    due: list[float] = []
    async with MemoryStore(clock=clock) as store:
        backoff = Backoff(store, lambda _task: due.append(clock.now()))
        start = clock.now()
        assert backoff.over(Assign("a", 1))
        assert not backoff.over(Assign("a", 2, wait=4.0))
        await asyncio.sleep(0)
        await clock.advance(3.9)
        assert not backoff.over(Assign("a", 2, wait=4.0))
        await clock.advance(0.2)
        assert backoff.over(Assign("a", 2, wait=4.0))
        assert [round(at - start, 1) for at in due] == [4.0]
        assert not backoff.over(Assign("b", 2, wait=9.0))
        backoff.close()


def all_failed(**more: Any) -> Board:
    board = Board({"a": {"writes": ["a"], "prompt": "do a"}, "b": {"writes": ["b", "a"], "checks": ["true"]}})
    board.put("meta", {"order": ["a", "b"], "ready": True, "goal": "the goal", "alone": "claude", **more})
    return board.attempt("a.1", "failed", reason="no").attempt("b.1", "failed")


@pytest.mark.req("M10")
def test_when_all_fail_one_agent_gets_the_whole() -> None:
    board = all_failed()
    (action,) = decide(board.view())
    assert isinstance(action, AddTask)
    assert action.task == "whole"
    spec = dict(action.spec)
    assert "the goal" in spec["prompt"]
    assert "do a\nAlone it failed: no" in spec["prompt"]
    assert (spec["writes"], spec["checks"], spec["agent"]) == (["a", "b"], ["true"], "claude")
    assert not over(board.view())
    board.put("tasks/whole", spec)
    assert decide(board.view()) == [Assign("whole", 1)]
    assert decide(board.attempt("whole.1", "failed").view()) == [], "only once"
    assert over(board.view())


@pytest.mark.req("M10")
def test_nobody_gets_the_whole_while_anything_else_holds() -> None:
    cases = {
        "nobody is meant for it": all_failed(alone=None),
        "one was merged": all_failed().attempt("a.1", "completed").merge("a"),
        "a person cancelled one": all_failed().attempt("a.1", "cancelled", reason="a person's"),
        "one is still tried": stopped(all_failed(), "a.1"),
        "one runs": all_failed().attempt("a.1", "running"),
    }
    found = {
        case: [each for each in decide(board.view()) if isinstance(each, AddTask)] for case, board in cases.items()
    }
    assert not any(found.values()), found
    single = Board({"a": []}).attempt("a.1", "failed")
    single.put("meta", {"order": ["a"], "ready": True, "alone": "claude"})
    assert decide(single.view()) == []


@pytest.mark.req("M8", "M10")
@pytest.mark.parametrize("bug", ["for ever", "at once", "twice"])
def test_a_planted_bug_is_caught(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if bug == "for ever":
        monkeypatch.setattr(recovery, "WATCHED_ATTEMPTS", 99)
        catches = test_each_time_in_another_way_and_never_for_ever
    elif bug == "at once":
        monkeypatch.setattr(recovery, "BASE", 0.0)
        catches = test_what_was_no_detectors_is_tried_as_often_as_the_task_says
    else:
        whole = fallback._spec
        monkeypatch.setattr(fallback, "_spec", lambda *args: {**whole(*args), "fallback": False})
        catches = test_when_all_fail_one_agent_gets_the_whole
    with pytest.raises(AssertionError):
        catches()
