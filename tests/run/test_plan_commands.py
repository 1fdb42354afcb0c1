"""`coord plan make`, `show` and `check`, and `coord run` with one agent, as a person types them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING

import pytest

from tests.modelserver.script import Say, Script
from tests.modelserver.server import ModelServer

if TYPE_CHECKING:
    from tests.run.conftest import Place

MAKER = """
import json, sys
prompt = sys.stdin.read()
task = {"id": "a", "prompt": "do it", "writes": ["a.txt"]}
if "That cannot be run" not in prompt: task.pop("writes")
print(json.dumps({"goal": "Greet", "agent": {"command": ["sh", "-c", "echo made > a.txt"]}, "tasks": [task]}))
"""


@pytest.mark.req("P1", "C2")
def test_a_command_makes_a_plan_that_runs(place: Place) -> None:
    made = place.coord("plan", "make", "Greet", "--output", "plan.yaml", "--", "python3", "-c", MAKER)
    assert made.code == 0, made.err
    assert "'writes' is missing" in made.err
    assert made.last == "coord run plan.yaml"
    assert place.coord("run", "plan.yaml", "--session", "s").code == 0
    assert place.show("a.txt") == "made\n"
    again = place.coord("plan", "make", "Greet", "--output", "plan.yaml", "--", "true")
    assert (again.code, "exists" in again.err) == (2, True)


@pytest.mark.req("P1", "C2")
def test_a_model_makes_a_plan_that_runs(place: Place) -> None:
    task = {"id": "a", "prompt": "do it", "writes": ["a.txt"]}
    plan = {"goal": "Greet", "agent": {"command": ["sh", "-c", "echo made > a.txt"]}, "tasks": [task]}
    wrong = {**plan, "tasks": [{"id": "a", "prompt": "do it"}]}
    scripts = [Script("That cannot be run", [Say(json.dumps(plan))]), Script("Greet", [Say(json.dumps(wrong))])]
    with ModelServer(scripts) as server:
        place.env |= {"OPENAI_BASE_URL": f"{server.url}/v1", "OPENAI_API_KEY": "none"}
        made = place.coord("plan", "make", "Greet", "--planner", "llm", "--output", "plan.yaml", "fake")
    assert made.code == 0, made.err
    assert "'writes' is missing" in made.err
    assert place.coord("run", "plan.yaml", "--session", "s").code == 0
    assert place.show("a.txt") == "made\n"


@pytest.mark.req("P1", "C2")
def test_what_cannot_be_made_is_status_2(place: Place) -> None:
    refused = place.coord("plan", "make", "Greet", "--", "echo", "no plan")
    assert refused.code == 2
    listed = place.coord("plan", "make", "--list")
    assert [line.split()[0] for line in listed.out.splitlines()] == ["command", "file", "llm"]


@pytest.mark.req("P3", "C2")
def test_a_plan_is_shown_as_text_and_drawing(place: Place) -> None:
    plan = place.plan({"a": {}, "b": {"name": "The <second> & last"}, "c": {"needs": ["a", "b"], "writes": []}})
    text = place.coord("plan", "show", plan).out
    assert [line for line in text.splitlines() if line.startswith("wave")] == ["wave 1", "wave 2"]
    assert "  c  reads only  needs a, b" in text
    assert place.coord("plan", "show", plan, "--svg", place.folder / "plan.svg").code == 0
    root = ET.parse(place.folder / "plan.svg").getroot()  # noqa: S314  (we wrote it)
    assert len(root.findall(".//{*}path")) == 2
    texts = [each.text for each in root.findall(".//{*}text")]
    assert {"wave 1", "wave 2", "b: The <second> & last"} <= set(texts)


@pytest.mark.req("P4", "C2")
def test_check_says_what_many_and_one_take_and_run_obeys(place: Place) -> None:
    tasks = {name: {"id": name, "prompt": f"{name}.txt", "writes": [f"{name}.txt"]} for name in ("x", "y")}
    agent = {"command": ["sh", "-c", "for each in $(grep txt); do case $each in ?.txt) echo > $each;; esac; done"]}
    plan = place.folder / "both.json"
    plan.write_text(json.dumps({"goal": "g", "agent": agent, "tasks": list(tasks.values())}))
    said = place.coord("plan", "check", plan)
    assert said.code == 0, said.err
    assert "many agents: about" in said.out
    assert "guessed" in said.out
    assert place.run(plan, "--one-agent").code == 0
    assert list(place.tasks()) == ["all"]
    assert place.coord("run", plan, "--session", "s").code == 0  # goes on as it began
    assert place.coord("run", plan, "--session", "t", "--many-agents").code == 0
    assert sorted(place.tasks("t")) == ["x", "y"]
