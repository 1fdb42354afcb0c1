"""Ending a run early: drained, cancelled, refused, resumed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess

    from tests.run.conftest import Place


def read_until(process: subprocess.Popen[str], text: str) -> str:
    """Return what a process prints up to and including a line with a text."""
    said = ""
    assert process.stdout is not None
    while text not in said:
        line = process.stdout.readline()
        assert line, said
        said += line
    return said


@pytest.fixture
def gate(place: Place) -> str:
    """Return a shell line that waits until the test opens the gate."""
    return f"until [ -e {place.folder}/open ]; do sleep 0.01; done"


@pytest.mark.req("M12")
def test_interrupted_once_it_drains_and_the_same_command_goes_on(place: Place, gate: str) -> None:
    plan = place.plan({"t": {"sh": f"{gate}; echo > t.txt"}, "u": {"needs": ["t"]}})
    process = place.start("run", plan, "--session", "s")
    read_until(process, "running")
    process.send_signal(signal.SIGINT)
    read_until(process, "draining")
    (place.folder / "open").touch()
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert out.rstrip().endswith(f"coord run {plan} --session s")
    assert (place.tasks()["t"]["state"], place.tasks()["u"]["attempts"]) == ("completed", [])
    assert place.run(plan).code == 0
    assert len(place.tasks()["t"]["attempts"]) == 1


@pytest.mark.req("W3", "M12")
def test_interrupted_twice_it_cancels_and_a_resumed_run_tries_again(place: Place, gate: str) -> None:
    plan = place.plan({"t": {"sh": f"{gate}; echo > t.txt"}})
    process = place.start("run", plan, "--session", "s")
    read_until(process, "running")
    process.send_signal(signal.SIGINT)
    read_until(process, "draining")
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, (out, err)
    assert place.tasks()["t"]["state"] == "cancelled"
    (place.folder / "open").touch()
    assert place.run(plan).code == 0
    assert [attempt["state"] for attempt in place.tasks()["t"]["attempts"]] == ["cancelled", "completed"]


@pytest.mark.req("S9")
def test_a_session_has_one_orchestrator(place: Place, gate: str) -> None:
    plan = place.plan({"t": {"sh": f"{gate}; echo > t.txt"}})
    process = place.start("run", plan, "--session", "s")
    read_until(process, "running")
    second = place.run(plan)
    assert (second.code, f"process {process.pid}" in second.err) == (5, True), second
    (place.folder / "open").touch()
    process.communicate(timeout=30)
    assert process.returncode == 0


@pytest.mark.req("C2", "W3")
def test_cancel_stops_a_running_agent_from_another_terminal(place: Place, gate: str) -> None:
    plan = place.plan({"t": {"sh": gate}, "u": {"needs": ["t"]}, "v": {}})
    process = place.start("run", plan, "--session", "s")
    read_until(process, "t.1 ")
    done = place.coord("cancel", "s", "t", "--reason", "changed my mind")
    assert (done.code, done.out) == (0, "t: cancelled\n"), done
    process.communicate(timeout=30)
    assert process.returncode == 3
    tasks = place.tasks()
    assert (tasks["t"]["reason"], tasks["u"]["reason"]) == ("changed my mind", "needs t, which was cancelled")


@pytest.mark.req("C2")
def test_cancel_of_nothing_and_of_unknown_things(place: Place) -> None:
    assert place.coord("cancel", "s").code == 2
    place.run(place.plan({"t": {}}))
    assert "nothing to cancel" in place.coord("cancel", "s").out
    unknown = place.coord("cancel", "s", "nobody")
    assert (unknown.code, "has no task nobody" in unknown.err) == (2, True)
