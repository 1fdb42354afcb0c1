"""Stub agents go wrong in a real `coord run`: each is stopped for its own reason, tried again, and its work is kept."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.sync import open_store

if TYPE_CHECKING:
    from tests.run.conftest import Place

pytestmark = pytest.mark.timeout(300)

COORD = str(Path(sysconfig.get_path("scripts")) / "coord")
STUB = """
import json, os, sys, time

task, attempt = os.environ["COORD_AGENT"].split(".")
number = iter(range(1, 10 ** 6))

def say(**found):
    print(json.dumps(found), flush=True)

def assistant(*parts):
    say(type="assistant", message={"content": list(parts)})

def text(what):
    return {"type": "text", "text": what}

def call(command):
    return {"type": "tool_use", "id": str(next(number)), "name": "Bash", "input": {"command": command}}

def result(tool, ok=True):
    part = {"type": "tool_result", "tool_use_id": tool["id"], "content": "x", "is_error": not ok}
    say(type="user", message={"content": [part]})

def work(command, ok=True):
    tool = call(command)
    assistant(tool)
    result(tool, ok)

def write(what="done"):
    open(task + ".txt", "a").write(what + "\\n")

def stall():
    work("ls")
    time.sleep(600)

def mute():
    time.sleep(600)

def tool():
    assistant(call("make"))
    time.sleep(600)

def silence():
    say(type="turn_start")
    say(type="message_start", message={"role": "assistant"})
    time.sleep(600)

def errors():
    work("ls")
    for _ in range(3):
        say(type="system", subtype="api_retry", error_status=500, error="server", attempt=1, max_retries=9)
    time.sleep(600)

def progress():
    for at in range(10 ** 6):
        work(f"cat {at}")
        time.sleep(0.05)

def repeats():
    while True:
        work("ls -la")
        time.sleep(0.1)

def chatter():
    for what in ("I shall", "I would", "I might"):
        assistant(text(what))
        work("nope", ok=False)
    time.sleep(600)

def steps():
    for at in range(11):
        work(f"cat {at}")
        write()
    time.sleep(600)

def nudge():
    for at in range(5):
        work(f"edit {at}")
        write()
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        told = os.popen("@COORD@ agent read-messages").read()
        if told:
            write(told)
            break
        time.sleep(0.2)

def healthy():
    assistant(text("I begin"))
    work("ls")
    write()
    work("pytest", ok=False)
    work("pytest")
    assistant(text("done"))

wrong = globals()[task.partition("-")[0]]
if attempt == "1" or task.endswith("-always"):
    write(f"partial {attempt}") if task.startswith("stall") else None
    wrong()
else:
    write(sys.stdin.read().partition("## About this attempt")[2])
    work("ls")
"""


def stubs(place: Place) -> None:
    """Write the stub and the profiles that run it."""
    program = place.folder / "stub.py"
    program.write_text(STUB.replace("@COORD@", COORD))
    rows = [
        f'[agents.{name}]\nargv = ["{sys.executable}", "{program}"]\noutput = "{output}"\nlimits = {{deadline = 120}}\n'
        for name, output in (("stub", "claude"), ("asks", "pi"))
    ]
    (place.repository / "coord.toml").write_text("\n".join(rows))


def plan(place: Place, tasks: dict[str, dict[str, Any]], **more: Any) -> Path:
    rows = [
        {"id": name, "prompt": f"do {name}", "writes": [f"{name}.txt"], "agent": "stub", **task}
        for name, task in tasks.items()
    ]
    path = place.folder / f"plan{len(list(place.folder.glob('plan*')))}.json"
    path.write_text(json.dumps({"goal": "test", "tasks": rows, **more}))
    return path


def told(place: Place, agent: str) -> list[dict[str, Any]]:
    """Return the verdicts in an agent's stream."""
    rows = [json.loads(line) for line in place.coord("events", "s", "--json").out.splitlines()]
    found = [row.get("event", row) for row in rows if agent in json.dumps(row)]
    return [event for event in found if event.get("type") == "verdict"]


def stored(place: Place, key: str) -> bytes:
    """Return a value of the store."""
    (path,) = place.folder.glob("state/*/store.db")
    with open_store(f"sqlite:{path}") as store:
        entry = store.get(key)
        assert entry is not None
        return entry.value


def agents_git(place: Place, *args: str) -> str:
    """Run git in the repository that the agents' branches are in."""
    (repository,) = place.folder.glob("state/*/sessions/s/agents.git")
    return place.git("--git-dir", str(repository), *args)


QUICK = {"stall": 5, "tool": 5, "silence": 5}
STUBS: dict[str, dict[str, Any]] = {
    "stall": {"watch": QUICK},
    "mute": {"watch": QUICK},
    "tool": {"watch": {**QUICK, "stall": 60}},
    "silence": {"agent": "asks", "watch": {"silence": 5}},
    "errors": {},
    "progress": {},
    "repeats": {},
    "chatter": {},
    "healthy": {"watch": {"stall": 30}},
}
REASONS = {
    "stall": "stalled: no step for",
    "mute": "never started: no step for",
    "tool": "stalled in a tool call: no step for",
    "silence": "silent: its model was asked",
    "errors": "3 errors in a row",
    "progress": "no progress: ",
    "repeats": "loop: the same tool call 6 times",
    "chatter": "chatter: 3 messages",
}


@pytest.mark.req("M1", "M2", "M3", "M4", "M5", "M6", "M8", "M9")
def test_each_stub_is_stopped_for_its_reason_and_its_next_attempt_is_told(place: Place) -> None:
    stubs(place)
    done = place.run(plan(place, STUBS), "--allow-unproven", "--slots", "9")
    tasks = place.tasks()
    first = {name: task["attempts"][0] for name, task in tasks.items()}
    assert done.code == 0, (done, tasks)
    assert first.pop("healthy")["state"] == "completed"
    assert len(tasks["healthy"]["attempts"]) == 1
    assert {name: attempt["state"] for name, attempt in first.items()} == dict.fromkeys(REASONS, "failed")
    assert {name: attempt["reason"][: len(REASONS[name])] for name, attempt in first.items()} == REASONS
    for name, reason in REASONS.items():
        detector = "stall" if name == "mute" else name
        stops = [each for each in told(place, f"{name}.1") if each["action"] == "stop"]
        assert [each["detector"] for each in stops] == [detector], name
        assert stops[0]["evidence"]
        assert reason in place.show(f"{name}.txt"), "the next attempt was not told"
    assert {each["action"] for each in told(place, "healthy.1")} <= {"hint"}
    assert "is on the branch stall.1" in place.show("stall.txt")
    assert "partial 1" not in place.show("stall.txt")
    hints = [each for each in told(place, "repeats.1") if each["action"] == "hint"]
    assert [each["detector"] for each in hints][:1] == ["repeats"]


@pytest.mark.req("M6", "M9", "M10")
def test_what_fails_for_good_is_named_with_its_branch_and_the_rest_lands(place: Place) -> None:
    stubs(place)
    tasks: dict[str, dict[str, Any]] = {
        "stall-always": {"watch": {"stall": 4}, "limits": {"attempts": 2}},
        "steps": {"size": "small", "limits": {"attempts": 1}},
        "chatter": {"limits": {"attempts": 1}},
        "healthy": {},
    }
    done = place.run(plan(place, tasks), "--allow-unproven")
    found = place.tasks()
    assert done.code == 3, (done, found)
    assert {name: len(task["attempts"]) for name, task in found.items()} == {
        "stall-always": 2, "steps": 1, "chatter": 1, "healthy": 1,
    }  # fmt: skip
    assert found["healthy"]["landed"]
    assert found["steps"]["reason"] == "stopped after its limit of 10 steps"
    for agent in ("stall-always.1", "stall-always.2", "steps.1"):
        assert f"its work is kept on branch {agent} at " in done.out
    kept = agents_git(place, "show", "stall-always.2:stall-always.txt")
    assert "partial 2" in kept
    assert [each["detector"] for each in told(place, "steps.1")][-1:] == ["steps"]
    record = json.loads(place.coord("inspect", "s", "--json").out)
    assert record["sessions"][0]["state"] == "partial"
    lesson = json.loads(stored(place, "s/postmortem/stall-always"))
    assert [attempt["code"] for attempt in lesson["attempts"]] == ["stall", "stall"]
    assert lesson["attempts"][0]["verdict"]["evidence"]["class"] == "running"
    assert lesson["attempts"][1]["branch"] == "stall-always.2"
    assert lesson["attempts"][1]["hint"].startswith("An earlier attempt at this task ended without success: stalled")
    result = json.loads(stored(place, "s/agents/chatter.1/result"))
    assert result["messages"] == ["I shall", "I would", "I might"]


@pytest.mark.req("M7", "R7")
def test_a_nudge_reaches_a_running_agent(place: Place) -> None:
    stubs(place)
    done = place.run(plan(place, {"nudge": {}}), "--allow-unproven")
    assert done.code == 0, (done, place.tasks())
    assert "message from orchestrator: 5 rounds without mark_complete" in place.show("nudge.txt")
    assert [(each["detector"], each["action"]) for each in told(place, "nudge.1")] == [("nudge", "hint")]


WHOLE = """
import os, pathlib, sys
if os.environ["COORD_TASK"] == "whole":
    prompt = sys.stdin.read()
    assert "the goal" in prompt and "do a" in prompt and "do b" in prompt, prompt
    for name in ("a", "b"):
        pathlib.Path(name + ".txt").write_text("by one agent\\n")
else:
    sys.exit("I cannot do a part")
"""


@pytest.mark.req("M10")
def test_when_all_fail_one_agent_does_the_original_task(place: Place) -> None:
    agent = {"command": [sys.executable, "-c", WHOLE]}
    tasks = [{"id": name, "prompt": f"do {name}", "writes": [f"{name}.txt"]} for name in ("a", "b")]
    tasks.append({"id": "c", "prompt": "do c", "writes": ["c.txt"], "needs": ["a"]})
    path = place.folder / "plan.json"
    path.write_text(json.dumps({"goal": "the goal", "agent": agent, "tasks": tasks}))
    done = place.run(path)
    found = place.tasks()
    assert done.code == 3, (done, found)
    assert {name: task["state"] for name, task in found.items()} == {
        "a": "failed", "b": "failed", "c": "cancelled", "whole": "completed",
    }  # fmt: skip
    assert place.show("a.txt") == place.show("b.txt") == "by one agent\n"
    assert "all tasks failed" in "".join(log.read_text() for log in place.folder.glob("state/*/sessions/s/coord.log"))
    assert place.run(path).code == 3, "settled: a second run adds nothing"
    assert len(place.tasks()) == 4


@pytest.mark.req("M10")
def test_nothing_falls_back_when_one_came_through_or_the_last_resort_failed_too(place: Place) -> None:
    for code, script in ((3, "[ $COORD_TASK = b ] && echo x > b.txt"), (1, "exit 1")):
        tasks = [{"id": name, "prompt": f"do {name}", "writes": [f"{name}.txt"]} for name in ("a", "b")]
        path = place.folder / "plan.json"
        path.write_text(json.dumps({"goal": "g", "agent": {"command": ["sh", "-c", script]}, "tasks": tasks}))
        done = place.coord("run", path, "--session", f"s{code}")
        assert done.code == code, done
        found = place.tasks(f"s{code}")
        assert ("whole" in found) == (code == 1)
        assert len(found) == (3 if code == 1 else 2)
