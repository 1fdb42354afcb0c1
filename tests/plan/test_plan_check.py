"""What `check_plan` refuses: each sentence as it is told, all of them at once, and small plans against an oracle."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore_orchestrator.plan import Graph, Plan, PlanError, Problem, Scope, build_plan, check_plan, overlap

RUN_TOGETHER = "may run at the same time and both write"


def plan_of(*tasks: dict[str, Any], **head: Any) -> Plan:
    filled = [{"prompt": "Do it.", "writes": [], **task} for task in tasks]
    return build_plan({"goal": "g", "agent": "claude", "tasks": filled, **head})


def refused(plan: Plan, known: list[str] | None = None) -> list[str]:
    with pytest.raises(PlanError) as caught:
        check_plan(plan, known)
    lines = str(caught.value).splitlines()
    assert lines == [str(problem) for problem in caught.value.problems]
    assert all(problem.fix for problem in caught.value.problems)
    return lines


@pytest.mark.req("P2", "P3")
def test_a_plan_whose_scopes_are_apart_or_ordered_is_fine() -> None:
    check_plan(
        plan_of(
            {"id": "a", "writes": ["src/a"]},
            {"id": "b", "writes": ["src/b", "docs/*.md"]},
            {"id": "c", "writes": ["src"], "reads": ["docs"], "needs": ["a", "b"]},
            {"id": "d", "writes": ["**"], "needs": ["c"]},
            {"id": "look", "writes": []},
        ),
        ["claude"],
    )


@pytest.mark.req("P2", "P5")
def test_tasks_that_may_write_the_same_file_at_the_same_time() -> None:
    plan = plan_of({"id": "a", "writes": ["lib", "src/**"]}, {"id": "b", "writes": ["docs", "src/*.py"]})
    assert refused(plan) == [
        (
            f"tasks a and b: {RUN_TOGETHER} 'src/x.py': a by 'src/**', b by 'src/*.py'; "
            "let b need a (needs: [a]), or give each its own files"
        )
    ]


@pytest.mark.req("P2")
def test_a_common_ancestor_does_not_order_its_descendants() -> None:
    plan = plan_of(
        {"id": "root", "writes": ["x"]},
        {"id": "a", "writes": ["x"], "needs": ["root"]},
        {"id": "b", "writes": ["x/y"], "needs": ["root"]},
        {"id": "end", "writes": ["x"], "needs": ["a", "b"]},
    )
    assert [line.partition(": a by")[0] for line in refused(plan)] == [f"tasks a and b: {RUN_TOGETHER} 'x/y'"]


@pytest.mark.req("P2", "P5")
def test_a_task_that_reads_what_another_writes_must_need_it() -> None:
    writer, reader = {"id": "w", "writes": ["src/api"]}, {"id": "r", "writes": ["docs"], "reads": ["src/**/*.py"]}
    sentence = (
        "tasks r and w: r reads 'src/api/x.py' (by 'src/**/*.py'), which w may write at the same time (by 'src/api'); "
        "let r need w (needs: [w]), or narrow what it reads"
    )
    assert refused(plan_of(writer, reader)) == [sentence]
    assert refused(plan_of(reader, writer)) == [sentence]
    check_plan(plan_of(writer, {**reader, "needs": ["w"]}))
    check_plan(plan_of({**writer, "needs": ["r"]}, reader))


@pytest.mark.req("P2")
def test_tasks_that_only_read_the_same_are_fine() -> None:
    check_plan(plan_of({"id": "a", "reads": ["**"]}, {"id": "b", "reads": ["src"]}))


@pytest.mark.req("P2", "P5")
def test_a_scope_of_everything_beside_others_is_told_once() -> None:
    many = [{"id": f"t{at}", "writes": [f"d{at}"]} for at in range(7)]
    wide = {"id": "wide", "writes": ["docs", "**/*"]}
    assert refused(plan_of(wide, *many)) == [
        (
            "task wide: may write everywhere ('**/*') while others write at the same time: t0, t1, t2, t3, t4 and "
            "2 more; name the folders that it changes, or let it need the others or they it"
        )
    ]
    check_plan(plan_of({"id": "wide", "writes": ["**"]}, {"id": "r", "writes": []}))


@pytest.mark.req("P3", "P5")
def test_needs_that_cannot_be() -> None:
    plan = plan_of(
        {"id": "parse", "needs": ["pars", "parse"]},
        {"id": "b", "needs": ["c"]},
        {"id": "c", "needs": ["d"]},
        {"id": "d", "needs": ["b"]},
    )
    assert refused(plan) == [
        "task parse: needs 'pars', which is no task of this plan; did you mean 'parse'?",
        "task parse: needs itself; take parse out of its needs",
        "tasks b, c and d: need each other in a circle: b needs c needs d needs b; drop one of these needs",
    ]


@pytest.mark.req("P5")
def test_an_unknown_need_in_a_long_plan_does_not_list_it() -> None:
    plan = plan_of(*({"id": f"t{at}"} for at in range(50)), {"id": "x", "needs": ["zz"]})
    assert refused(plan) == ["task x: needs 'zz', which is no task of this plan; name a task of this plan"]


@pytest.mark.req("P5")
def test_an_id_that_stands_twice() -> None:
    plan = plan_of({"id": "a", "writes": ["x"]}, {"id": "b"}, {"id": "a", "writes": ["x"]})
    assert refused(plan) == ["task a: the id stands 2 times: tasks[0], tasks[2]; give each its own id"]


@pytest.mark.req("P5")
@pytest.mark.parametrize("prompt", ["", " \n\t"])
def test_an_empty_prompt(prompt: str) -> None:
    assert refused(plan_of({"id": "a", "prompt": prompt}, {"id": "b"})) == [
        "task a: its prompt is empty; write what the agent is to do"
    ]


@pytest.mark.req("P5")
def test_agents_that_nobody_knows() -> None:
    plan = plan_of({"id": "a", "agent": "codx"}, {"id": "b", "agent": {"command": ["x"]}}, {"id": "c"}, agent="none")
    assert refused(plan, ["codex", "claude"]) == [
        "agent: unknown agent profile 'none'; known: claude, codex",
        "task a: unknown agent profile 'codx'; did you mean 'codex'? (known: claude, codex)",
    ]
    check_plan(plan, None)
    assert refused(plan, [])[0] == "agent: unknown agent profile 'none'; known: none"


@pytest.mark.req("P5")
def test_tasks_that_nobody_does() -> None:
    some = [{"id": f"t{at}"} for at in range(25)]
    fix = "give the plan an agent: a profile's name or {command: [...]}"
    assert refused(plan_of(*some[:2], {"id": "x", "agent": "claude"}, agent=None)) == [
        f"tasks t0, t1: no agent is named; {fix}"
    ]
    (line,) = refused(plan_of(*some, agent=None))
    assert line.endswith(f"t19 and 5 more: no agent is named; {fix}")


@pytest.mark.req("P5")
def test_all_problems_are_told_at_once() -> None:
    plan = plan_of(
        {"id": "a", "writes": ["x"], "needs": ["nobody"]},
        {"id": "b", "writes": ["x"], "prompt": " "},
        {"id": "c", "reads": ["x"], "agent": "who"},
        {"id": "d", "needs": ["e"]},
        {"id": "e", "needs": ["d"]},
    )
    with pytest.raises(PlanError) as caught:
        check_plan(plan, {"claude"})
    assert [problem.where for problem in caught.value.problems] == [
        "task a",
        "tasks d and e",
        "task b",
        "task c",
        "tasks a and b",
        "tasks c and a",
        "tasks c and b",
    ]


def test_a_circle_does_not_hide_a_clash_and_makes_none() -> None:
    plan = plan_of(
        {"id": "a", "writes": ["x"], "needs": ["b"]},
        {"id": "b", "writes": ["x"], "needs": ["a"]},
        {"id": "c", "writes": ["x"]},
    )
    assert [line.partition(":")[0] for line in refused(plan)] == ["tasks a and b", "tasks a and c", "tasks b and c"]


SCOPES = ["a", "a/b", "a/*", "b", "*/b.c", "**/*.c", "**"]


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    tasks: list[dict[str, Any]] = []
    for name in "pqrstu"[: draw(st.integers(2, 6))]:
        earlier = [task["id"] for task in tasks]
        needs = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2)) if earlier else []
        writes, reads = draw(st.tuples(*[st.lists(st.sampled_from(SCOPES), max_size=2)] * 2))
        tasks.append({"id": name, "needs": needs, "writes": writes, "reads": reads})
    return plan_of(*tasks)


def expected(plan: Plan) -> set[tuple[str, ...]]:
    """Return who clashes with whom, found by looking at every pair."""
    graph = Graph(plan)
    found: set[tuple[str, ...]] = set()
    wide = {task.id for task in plan.tasks if "**" in task.writes}
    for one, two in itertools.permutations(plan.tasks, 2):
        if not graph.may_run_together(one.id, two.id):
            continue
        first = list(graph.place).index(one.id) < list(graph.place).index(two.id)
        if overlap(Scope.parse(one.writes), Scope.parse(two.writes)) is not None:
            if one.id in wide:
                found.add((one.id,))
            elif two.id not in wide and first:
                found.add((one.id, two.id))
        elif overlap(Scope.parse(one.reads), Scope.parse(two.writes)) is not None:
            found.add((one.id, two.id, "reads"))
    return found


def told(problem: Problem) -> tuple[str, ...]:
    names = problem.where.removeprefix("tasks ").removeprefix("task ").split(" and ")
    return (*names, *(["reads"] if f"{names[0]} reads" in problem.what else []))


@pytest.mark.req("P2")
@given(plans())
def test_clashes_are_those_that_looking_at_every_pair_finds(plan: Plan) -> None:
    problems: list[Problem] = []
    try:
        check_plan(plan)
    except PlanError as error:
        problems = error.problems
    assert sorted(map(told, problems)) == sorted(expected(plan))


def big(count: int, **fields: Any) -> Plan:
    """Return a plan of many tasks; a field is a function of a task's number."""
    tasks = [{"id": f"t{at}", **{key: make(at) for key, make in fields.items()}} for at in range(count)]
    return plan_of(*tasks)


def halves(at: int) -> list[str]:
    return [f"t{at // 2}"] if at else []


@pytest.mark.req("P2")
@pytest.mark.timeout(120)
def test_ten_thousand_tasks_are_checked() -> None:
    check_plan(big(10_000, writes=lambda at: [f"src/m{at}/**/*.py", f"docs/m{at}.md"], needs=halves))


@pytest.mark.req("P2")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "fields",
    [
        {"writes": lambda _: ["src/**"], "needs": lambda at: [f"t{at - 1}"] if at else []},
        {"writes": lambda at: [f"src/m{at}_*.py"]},
        {"writes": lambda at: [f"src/*_{at}.py"]},
        {"writes": lambda at: [f"src/*/m{at}.py"]},
        {"writes": lambda at: [f"**/x{at}.py"]},
    ],
    ids=["in turn", "by beginning", "by end", "by end below", "by name"],
)
def test_scopes_that_differ_only_in_part_are_not_compared_each_with_each(fields: dict[str, Any]) -> None:
    check_plan(big(3_000, **fields))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "fields",
    [
        {"writes": lambda _: ["src/**"]},
        {"writes": lambda _: ["**"]},
        {"writes": lambda at: [f"**/dir{at}"]},
        {"writes": lambda at: [f"a/f{at}"], "reads": lambda _: ["**"]},
    ],
    ids=["same", "everything", "anywhere", "reads"],
)
def test_millions_of_clashes_are_a_message_of_a_hundred_lines(fields: dict[str, Any]) -> None:
    lines = refused(big(3_000, **fields))
    assert len(lines) == 101
    assert lines[-1].startswith("tasks: at least ")
