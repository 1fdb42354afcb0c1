"""Planners: a file, a command and a model each make a plan that can be run, and are told what is wrong with one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import InvalidArgument
from coordstore.hookspecs import hookimpl
from coordstore.plugins import plugin_manager
from coordstore_orchestrator.plan import Plan, PlanError, build_plan, example
from coordstore_orchestrator.plan.by_command import CommandPlanner
from coordstore_orchestrator.plan.by_model import ModelPlanner
from coordstore_orchestrator.plan.planning import PlannerFailed, Wanted, make_plan, planner_of, planners
from tests.modelserver.script import Fail, Say, Script
from tests.modelserver.server import ModelServer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.req("P1", "P5")
AGENT: dict[str, Any] = {"command": ["true"]}
GOOD = {"goal": "g", "agent": AGENT, "tasks": [{"id": "a", "prompt": "Do it.", "writes": ["a.txt"]}]}
BAD = {**GOOD, "tasks": [{"id": "a", "prompt": "Do it."}]}
CLASH = {**GOOD, "tasks": [{"id": name, "prompt": "Do it.", "writes": ["src"]} for name in "ab"]}


class Scripted:
    """Answers with one text after the other, the last one again and again."""

    def __init__(self, *answers: object) -> None:
        self.answers = [each if isinstance(each, str) else json.dumps(each) for each in answers]
        self.asked: list[str] = []

    async def propose(self, prompt: str) -> str:
        self.asked.append(prompt)
        return self.answers[min(len(self.asked), len(self.answers)) - 1]


async def test_what_is_wrong_is_told_until_the_plan_can_be_run() -> None:
    planner, told = Scripted("no plan at all", BAD, CLASH, GOOD), list[PlanError]()
    plan = await make_plan(planner, Wanted("Greet", ["src/main.py"]), 3, told.append)
    assert plan == build_plan(GOOD)
    assert len(told) == 3
    assert "'writes' is missing" in planner.asked[2]
    assert "tasks a and b: may run at the same time" in planner.asked[3]
    assert all('"$defs"' in prompt and "src/main.py" in prompt and "Greet" in prompt for prompt in planner.asked)


async def test_the_retries_are_bounded() -> None:
    planner = Scripted(BAD, CLASH, BAD, CLASH, GOOD)
    with pytest.raises(PlanError, match="both write"):
        await make_plan(planner, Wanted("Greet"), 3)
    assert len(planner.asked) == 4


async def test_who_says_the_same_again_is_not_asked_once_more() -> None:
    planner = Scripted(BAD)
    with pytest.raises(PlanError, match="'writes' is missing"):
        await make_plan(planner, Wanted("Greet"), 9)
    assert len(planner.asked) == 2


async def test_a_plan_is_found_between_other_words_and_gets_the_agent_that_was_chosen() -> None:
    answer = f"Here it is:\n```json\n{json.dumps(GOOD)}\n```\nGood luck!"
    plan = await make_plan(Scripted(answer), Wanted("Greet", agent="claude", profiles=["claude"]))
    assert plan.agent == "claude"


async def test_an_unknown_profile_is_told() -> None:
    planner = Scripted({**GOOD, "agent": "clod"}, {**GOOD, "agent": "claude"})
    assert (await make_plan(planner, Wanted("Greet", profiles=["claude"]))).agent == "claude"
    assert "unknown agent profile 'clod'; did you mean 'claude'?" in planner.asked[1]


async def test_a_file_is_a_planner(tmp_path: Path) -> None:
    path = tmp_path / "plan.yaml"
    path.write_text(example())
    plan = await make_plan(planner_of("file", [str(path)]), Wanted("anything"))
    assert [task.id for task in plan.tasks] == ["english", "german", "esperanto", "all"]


def command(body: str) -> CommandPlanner:
    return CommandPlanner([sys.executable, "-c", f"import sys, json\nprompt = sys.stdin.read()\n{body}"])


async def test_a_command_is_asked_on_its_stdin() -> None:
    body = f"print({json.dumps(GOOD)!r} if 'That cannot be run' in prompt else {json.dumps(BAD)!r})"
    assert await make_plan(command(body), Wanted("Greet")) == build_plan(GOOD)


async def test_a_command_that_never_reads_its_stdin_is_fine() -> None:
    planner = CommandPlanner(["printf", "%s", json.dumps(GOOD)])
    assert await make_plan(planner, Wanted("x" * 1_000_000)) == build_plan(GOOD)


async def test_a_command_that_fails_or_is_not_there_is_told() -> None:
    with pytest.raises(PlannerFailed, match="failed with status 3"):
        await make_plan(command("sys.exit(3)"), Wanted("Greet"))
    with pytest.raises(PlannerFailed, match="cannot be started: No such file"):
        await make_plan(CommandPlanner(["/nowhere/planner"]), Wanted("Greet"))


async def test_a_command_that_is_late_is_ended_with_all_it_started(tmp_path: Path) -> None:
    gate = tmp_path / "fifo"
    planner = CommandPlanner(["sh", "-c", f"mkfifo {gate}; cat {gate} & wait"], seconds=0.5)
    with pytest.raises(PlannerFailed, match=r"gave no plan in 0\.5 s"):
        await planner.propose("?")


async def test_a_cancelled_command_is_ended(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    asking = asyncio.ensure_future(CommandPlanner(["sh", "-c", f"echo $$ > {begun}; exec sleep 1000"]).propose("?"))
    while not (begun.exists() and begun.read_text().strip()):  # noqa: ASYNC110  (another process says it)
        await asyncio.sleep(0.01)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


@pytest.fixture
def server() -> Iterator[ModelServer]:
    import openai  # noqa: F401  (here, so that no coroutine waits for it)

    scripts = [
        Script("That cannot be run", [Say(json.dumps(GOOD))]),
        Script("Split a goal", [Say(json.dumps(CLASH))]),
        Script("broken", [Fail(400)]),
    ]
    with ModelServer(scripts) as made:
        yield made


def model(server: ModelServer) -> ModelPlanner:
    return ModelPlanner("fake", base_url=f"{server.url}/v1", api_key="none", max_retries=0)


async def test_a_model_makes_a_plan_and_corrects_it(server: ModelServer) -> None:
    assert await make_plan(model(server), Wanted("Greet")) == build_plan(GOOD)
    assert [status for _, status in server.asked] == [200, 200]


async def test_a_model_that_cannot_be_asked_is_told(server: ModelServer) -> None:
    with pytest.raises(PlannerFailed, match=r"model fake gave no plan: .*400"):
        await model(server).propose("broken")


@pytest.mark.parametrize(("name", "arguments"), [("file", []), ("command", []), ("llm", ["a", "b"]), ("fil", ["x"])])
def test_what_a_planner_needs_is_told(name: str, arguments: list[str]) -> None:
    with pytest.raises(InvalidArgument, match=r"coord plan make|did you mean file"):
        planner_of(name, arguments)


def test_a_plugin_adds_a_planner(request: pytest.FixtureRequest) -> None:
    class Stranger:
        @hookimpl
        def register_planners(self, register: Any) -> None:
            register("mine", f"{__name__}:Scripted", summary="Mine.")

    plugin = Stranger()
    planners.cache_clear()
    plugin_manager().register(plugin)
    request.addfinalizer(planners.cache_clear)
    request.addfinalizer(lambda: plugin_manager().unregister(plugin))
    assert list(planners()) == ["command", "file", "llm", "mine"]


def test_two_planners_of_one_name_are_refused(request: pytest.FixtureRequest) -> None:
    class Stranger:
        @hookimpl
        def register_planners(self, register: Any) -> None:
            register("file", "elsewhere:make", summary="Another.")

    plugin = Stranger()
    planners.cache_clear()
    plugin_manager().register(plugin)
    request.addfinalizer(planners.cache_clear)
    request.addfinalizer(lambda: plugin_manager().unregister(plugin))
    with pytest.raises(InvalidArgument, match="two plugins have a planner 'file'"):
        planners()


def test_a_plan_keeps_what_it_says_on_its_way_through_a_planner() -> None:
    assert isinstance(Wanted("g").read(json.dumps(GOOD)), Plan)
