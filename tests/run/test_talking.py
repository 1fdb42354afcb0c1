"""A person talks to a run from outside: messages, pauses, and another attempt at what had failed."""

from __future__ import annotations

import json
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.run.conftest import Place

pytestmark = pytest.mark.timeout(300)

COORD = str(Path(sysconfig.get_path("scripts")) / "coord")
LISTENS = f"""
while [ ! -s said ]; do {COORD} agent read-messages > said; sleep 0.1; done
cat said > t.txt; rm said
"""


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 100
    while not condition():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.2)


def state(place: Place, task: str) -> str:
    done = place.coord("inspect", "s", "--json")
    tasks = json.loads(done.out)["sessions"][0]["tasks"] if done.code == 0 and done.out.startswith("{") else []
    return next((str(each["state"]) for each in tasks if each["id"] == task), "")


@pytest.mark.req("R7", "C2")
def test_a_message_reaches_the_attempt_that_runs(place: Place) -> None:
    run = place.start("run", place.plan({"t": {"sh": LISTENS}}), "--session", "s")
    until(lambda: state(place, "t") == "running")
    sent = place.coord("send", "s", "t", "mind the gap")
    assert sent.code == 0, sent
    assert sent.out.startswith("sent to t: ")
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, (out, err)
    assert place.show("t.txt") == "message from person: mind the gap\n"
    late = place.coord("send", "s", "t.1", "too late")
    assert late.code == 2
    assert "t.1 has ended and reads nothing any more" in late.err
    nobody = place.coord("send", "s", "ghost", "hello")
    assert "nobody called 'ghost': write to t, orchestrator" in nobody.err
    assert place.coord("send", "s", "orchestrator", "hello").code == 0


@pytest.mark.req("R7")
def test_agents_write_to_each_other_and_every_report_brings_mail(place: Place) -> None:
    listens = f"until {COORD} agent report-progress waiting | tee said | grep -q message; do sleep 0.1; done"
    tasks = {
        "a": {"sh": f"{COORD} agent send-message b 'your turn'; echo x > a.txt"},
        "b": {"sh": f"{listens}; cat said > b.txt; rm said"},
    }
    done = place.run(place.plan(tasks))
    assert done.code == 0, (done, place.tasks())
    assert place.show("b.txt") == "message from a.1: your turn\n"


@pytest.mark.req("C2")
def test_a_paused_session_starts_nothing_until_it_is_resumed(place: Place) -> None:
    go = place.folder / "go"
    tasks: dict[str, dict[str, Any]] = {
        "a": {"sh": f"while [ ! -e {go} ]; do sleep 0.1; done; echo x > a.txt"},
        "b": {"needs": ["a"]},
    }
    run = place.start("run", place.plan(tasks), "--session", "s")
    until(lambda: state(place, "a") == "running")
    paused = place.coord("pause", "s", "--reason", "lunch")
    assert (paused.code, paused.out) == (0, "session s is paused; 1 agents go on: coord resume s\n")
    go.touch()
    until(lambda: bool(place.tasks()["a"]["attempts"]) and state(place, "a") == "completed")
    until(lambda: '"merged": true' in place.coord("events", "s", "--json").out)
    assert run.poll() is None
    assert place.tasks()["b"]["attempts"] == []
    assert place.coord("resume", "s").out == "session s goes on\n"
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, (out, err)
    assert place.coord("resume", "s").out == "session s was not paused\n"
    for command in ("pause", "resume", "retry"):
        unknown = place.coord(command, "nobody")
        assert unknown.code == 2
        assert "there is no session 'nobody'" in unknown.err


@pytest.mark.req("C2", "T3", "M8")
def test_what_failed_is_tried_again_with_a_hint_and_with_what_waits_for_it(place: Place) -> None:
    tasks: dict[str, dict[str, Any]] = {
        "a": {"sh": "grep -q 'use the other door' || exit 3; echo x > a.txt"},
        "b": {"needs": ["a"]},
        "c": {},
    }
    path = place.plan(tasks)
    first = place.run(path)
    assert first.code == 3, first
    assert place.tasks()["b"]["reason"] == "needs a, which failed"
    refused = place.coord("retry", "s", "c")
    assert "task c is not tried again: it is completed" in refused.err
    assert refused.code == 2
    asked = place.coord("retry", "s", "a", "--hint", "use the other door")
    assert asked.code == 0, asked
    assert asked.out.splitlines()[:2] == ["a: attempt 2 is asked for", "b: attempt 2 is asked for"]
    assert asked.last == f"coord run {path} --session s"
    second = place.run(path)
    assert second.code == 0, (second, place.tasks())
    assert all(task["landed"] for task in place.tasks().values())
    assert place.show("a.txt") == "x\n"
    assert place.coord("retry", "s").out == "nothing to retry: no task has failed or was cancelled\n"
