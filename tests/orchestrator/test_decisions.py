"""What is kept up to date change by change is what looking at all tasks gives, for any plan and course of events."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from coordstore.model import Batch, Change, Put
from coordstore.session import SessionView
from coordstore.session.session import Session
from coordstore.testing import MemoryStore
from coordstore_orchestrator.monitor import decisions as kept
from coordstore_orchestrator.monitor.decide import Assign, decide, decide_task, over
from coordstore_orchestrator.monitor.decisions import Decisions
from coordstore_orchestrator.monitor.subtasks import EndSubtask
from tests.orchestrator.board import Board
from tests.orchestrator.test_decide import plans, play

if TYPE_CHECKING:
    from coordstore_orchestrator.monitor.decide import Action

ALONE = {"command": ["true"]}


class Follower:
    """Follows a board by its changes alone, and compares with the board as a whole after each."""

    def __init__(self, data: st.DataObject) -> None:
        self.data = data
        self.view = SessionView("s1")
        self.decisions = Decisions()
        self.taken: list[Action] = []

    def __call__(self, board: Board) -> None:
        self._meddle(board)
        whole = board.view()
        self.view.apply(self._batch(board))
        self.decisions.see(self.view)
        expected, fresh = decide(whole), self.decisions.take(self.view)
        assert self.decisions.actions(self.view) == expected
        assert self.decisions.over(self.view) == over(whole) or not whole.ready
        assert [action for action in expected if action in fresh] == fresh, "taken, and not to be done"
        self.taken += fresh
        assert all(action in self.taken for action in expected), "to be done, and never taken"
        if not whole.paused:
            self.taken = expected

    def _batch(self, board: Board) -> Batch:
        if not self.data.draw(st.integers(0, 9)):
            changes = [Change(key, entry) for key, entry in board.entries.items()]
            return Batch(board.revision, reset=True, complete=True, changes=changes)
        known = self.view.entries
        changes = [Change(key, entry) for key, entry in board.entries.items() if known.get(key) is not entry]
        changes += [Change(key, None) for key in known if key not in board.entries]
        return Batch(board.revision, changes=changes)

    def _meddle(self, board: Board) -> None:
        """Do now and then what no worker does: pause, add a task, change the record."""
        kind = self.data.draw(st.integers(0, 24))
        if kind == 0:
            board.put("paused", {})
        elif kind == 1:
            board.drop("paused")
        elif kind == 2:
            board.put("tasks/u0", {"needs": self.data.draw(st.sampled_from([[], ["t0"]])), "limits": {"attempts": 2}})
        elif kind == 3:
            meta = {"order": ["t0", "t1"], "ready": True}
            board.put("meta", meta | self.data.draw(st.sampled_from([{}, {"recovery": "standard"}, {"alone": ALONE}])))


def follow(plan: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    follower = Follower(data)
    board = play(plan, data, follower)
    board.drop("paused")
    follower(board)


@pytest.mark.req("T1", "T2", "M12")
@given(plans(), st.data())
@settings(max_examples=80)
def test_kept_up_to_date_is_decided_anew(plan: dict[str, dict[str, Any]], data: st.DataObject) -> None:
    follow(plan, data)


@pytest.mark.parametrize("bug", ["dependants", "stale", "missing", "forgets", "unsettled"])
def test_the_comparison_catches_a_planted_bug(bug: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settle, link = Decisions._settle, Decisions._link
    if bug == "dependants":
        monkeypatch.setattr(Decisions, "_settle", lambda *given: settle(*given) and set())
    elif bug == "stale":
        monkeypatch.setattr(kept, "decide_task", lambda _view, task: Assign(task.id, task.next_attempt))
    elif bug == "missing":

        def linked(self: Decisions, view: SessionView, name: str) -> None:
            link(self, view, name)
            self._missing[name] = 0

        monkeypatch.setattr(Decisions, "_link", linked)
    elif bug == "forgets":
        monkeypatch.setattr(Decisions, "_withheld", lambda *_: set())
    else:
        monkeypatch.setattr(kept, "settled", lambda _view, task: task.latest is not None)
    quick = settings(max_examples=200, phases=[Phase.generate], database=None)
    with pytest.raises((AssertionError, KeyError)):
        quick(given(plans(), st.data())(follow))()


@pytest.mark.req("M12")
def test_a_task_that_needs_all_others_is_looked_at_once_they_are_merged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not at each merge: that would be all pairs."""
    parts = [f"p{number}" for number in range(50)]
    board = Board({**{part: [] for part in parts}, "all": parts})
    looked: list[str] = []
    whole = decide_task

    def counted(view: SessionView, task: Any) -> Any:
        looked.append(task.id)
        return whole(view, task)

    monkeypatch.setattr(kept, "decide_task", counted)
    view, decisions = board.view(), Decisions()
    decisions.see(view)
    for part in parts:
        board.attempt(f"{part}.1", "completed").merge(part)
        known = view.entries
        changes = [Change(key, entry) for key, entry in board.entries.items() if known.get(key) is not entry]
        view.apply(Batch(board.revision, changes=changes))
        decisions.see(view)
    assert looked.count("all") == 2  # at the beginning, and at the end
    assert decisions.actions(view)[-1] == Assign("all", 1)


@pytest.mark.req("T4")
def test_a_subtask_is_looked_at_when_its_parent_changes() -> None:
    subtask = {"parent": "a.1", "depth": 1, "base": "c0"}
    board = Board({"a": [], "a-1-1": subtask}).attempt("a.1", "running")
    view, decisions = board.view(), Decisions()
    decisions.see(view)

    def now() -> list[Action]:
        known = view.entries
        changes = [Change(key, entry) for key, entry in board.entries.items() if known.get(key) is not entry]
        changes += [Change(key, None) for key in known if key not in board.entries]
        view.apply(Batch(board.revision, changes=changes))
        decisions.see(view)
        assert decisions.actions(view) == decide(board.view())
        return decisions.actions(view)

    assert now() == [Assign("a-1-1", 1)]
    board.attempt("a-1-1.1", "running")
    assert now() == []
    board.put("agents/a.1/subtasks", {"tasks": {"a-1-1": {"key": "k", "dropped": "too late"}}})
    assert now() == [EndSubtask("a-1-1", "a-1-1.1", "too late")]
    board.attempt("a.1", "failed")
    assert now() == [EndSubtask("a-1-1", "a-1-1.1", "its parent a.1 has ended")]
    board.attempt("a-1-1.1", "cancelled")
    assert now() == []
    assert decisions.over(view)


async def test_a_view_names_the_tasks_that_changed() -> None:
    async with MemoryStore() as store:
        session = Session(store, "s1")
        await session.create({"digest": "d"}, {"a": {}, "b": {}})
        views = session.views()
        view = await anext(views)
        assert view.changed == {"a", "b"}
        for key, changed in [
            ("agents/a.1/status", {"a"}),
            ("agents/a.1/step", {"a"}),
            ("merged/b", {"b"}),
            ("changes/a.1", {"a"}),
            ("tasks/c", {"c"}),
            ("paused", set()),
            ("agents/nonsense/status", set()),
        ]:
            for write in (store.put(f"s1/{key}", json.dumps({}).encode()), store.delete(f"s1/{key}")):
                await write
                assert (await anext(views)).changed == changed, key
        await store.transact([Put("s1/merged/a", b"{}"), Put("s1/merged/b", b"{}")])
        assert (await anext(views)).changed == {"a", "b"}
        await views.aclose()
