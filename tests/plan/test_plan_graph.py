"""Dependencies: against plain searches on small graphs, and on plans as large as they may be."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore_orchestrator.plan import Graph, PlanError, order, ready, waves


@dataclass
class Work:
    id: str
    needs: list[str] = field(default_factory=list)
    priority: int = 0


@dataclass
class Works:
    tasks: list[Work]


def works(**needs: str) -> Works:
    return Works([Work(name, list(wanted)) for name, wanted in needs.items()])


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool = False) -> Works:
    """Draw up to nine tasks that need some of the others; acyclic ones stand in the plan in any order."""
    names = "abcdefghi"[: draw(st.integers(1, 9))]
    tasks = []
    for at, name in enumerate(names):
        others = names[:at] if acyclic else names.replace(name, "")
        needs = draw(st.lists(st.sampled_from(others), max_size=3)) if others else []
        tasks.append(Work(name, needs, draw(st.integers(-1, 1))))
    return Works(draw(st.permutations(tasks)))


def reached(plan: Works, name: str) -> set[str]:
    """Return what a task needs, directly or through others."""
    needs = {task.id: task.needs for task in plan.tasks}
    found: set[str] = set()
    todo = list(needs[name])
    while todo:
        at = todo.pop()
        if at not in found:
            found.add(at)
            todo += needs[at]
    return found


@given(graphs())
def test_ancestors_descendants_and_concurrency(plan: Works) -> None:
    graph = Graph(plan)
    before = {task.id: reached(plan, task.id) for task in plan.tasks}
    for task, first in before.items():
        assert graph.behind([task]) == {other for other, needed in before.items() if task in needed}
        for other, needed in before.items():
            apart = other != task and other not in first and task not in needed
            assert graph.may_run_together(task, other) == apart


@pytest.mark.req("P3")
@given(graphs())
def test_every_circle_is_found_and_is_one(plan: Works) -> None:
    circles = Graph(plan).cycles()
    needs = {task.id: task.needs for task in plan.tasks}
    for circle in circles:
        assert all(following in needs[name] for name, following in zip(circle, [*circle[1:], circle[0]], strict=True))
    assert bool(circles) == any(task.id in reached(plan, task.id) for task in plan.tasks)


@pytest.mark.req("P3")
@given(graphs(acyclic=True))
def test_order_waves_and_ready_agree(plan: Works) -> None:
    position = {name: at for at, name in enumerate(order(plan))}
    level = {name: at for at, wave in enumerate(waves(plan)) for name in wave}
    assert set(position) == set(level) == {task.id for task in plan.tasks}
    for task in plan.tasks:
        assert all(position[need] < position[task.id] for need in task.needs)
        assert level[task.id] == max((level[need] + 1 for need in task.needs), default=0)
    done: list[str] = []
    while following := ready(plan, done):
        done.append(following[0])
    assert tuple(done) == order(plan)


def test_priority_goes_before_place_in_the_plan() -> None:
    plan = Works([Work("a"), Work("b", priority=2), Work("c", ["b"], priority=3), Work("d", priority=1)])
    assert order(plan) == ("b", "c", "d", "a")
    assert waves(plan) == (("b", "d", "a"), ("c",))


@pytest.mark.req("P3")
def test_ready_leaves_out_what_is_done_blocked_or_waits() -> None:
    plan = works(a="", b="a", c="b", d="")
    assert ready(plan, ()) == ("a", "d")
    assert ready(plan, {"a"}, {"d"}) == ("b",)
    assert ready(plan, {"a"}, {"b", "d"}) == ()
    assert ready(plan, ["a", "b", "d"]) == ("c",)


@pytest.mark.req("P3")
def test_a_circle_has_no_order_and_the_error_names_it() -> None:
    plan = works(x="", b="a", a="c", c="bx", d="e", e="d")
    for ask in (order, waves):
        with pytest.raises(PlanError) as caught:
            ask(plan)
        assert str(caught.value).splitlines() == [
            "tasks b, a and c: need each other in a circle: b needs a needs c needs b; drop one of these needs",
            "tasks d and e: need each other in a circle: d needs e needs d; drop one of these needs",
        ]


def test_a_long_circle_is_told_in_a_sentence_that_can_be_read() -> None:
    count = 3000
    plan = Works([Work(f"t{at}", [f"t{(at + 1) % count}"]) for at in range(count)])
    with pytest.raises(
        PlanError, match=r"^3000 tasks from t0 to t2999: need each other in a circle: t0 needs t1 "
    ) as caught:
        order(plan)
    assert len(str(caught.value)) < 500


def test_needs_that_name_no_task_or_the_task_itself_are_no_edges() -> None:
    plan = works(a="az", b="a")
    graph = Graph(plan)
    assert order(plan) == ("a", "b")
    assert repr(graph) == "<Graph of 2 tasks, 1 needs>"


@pytest.mark.timeout(20)
def test_ten_thousand_tasks_in_a_row() -> None:
    count = 10_000
    plan = Works([Work(f"t{at}", [f"t{at - 1}"] if at else []) for at in range(count)])
    graph = Graph(plan)
    assert graph.behind(["t0"]) == {task.id for task in plan.tasks[1:]}
    assert not graph.concurrent(5000)
    assert len(graph.waves()) == count
