"""The completion contract from the outside: what agents report, what they are told, and what is believed."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.run.conftest import Place

pytestmark = pytest.mark.timeout(300)

COORD = str(Path(sysconfig.get_path("scripts")) / "coord")
REPORT = f"{COORD} agent"


@pytest.mark.req("W5")
def test_reports_become_events_of_the_agents_own_stream(place: Place) -> None:
    script = (
        f"{REPORT} report-progress 'read it all' --next 'write it'; echo x > t.txt; {REPORT} mark-complete 'wrote it'"
    )
    done = place.run(place.plan({"t": {"sh": script}}))
    assert done.code == 0, (done, place.tasks())
    rows = [json.loads(line) for line in place.coord("events", "s", "--json").out.splitlines()]
    text = json.dumps(rows)
    assert "read it all" in text
    assert "write it" in text
    assert '"claim": "complete", "text": "wrote it"' in text
    (log,) = place.folder.glob("state/*/sessions/s/logs/t.1/stdout.log")
    assert log.read_text() == "accepted: end with exit status 0\n"
    assert not list(place.folder.glob("state/**/agent.sock"))


@pytest.mark.req("W6")
def test_mark_complete_answers_what_is_missing_and_accepts_what_is_whole(place: Place) -> None:
    script = f"""
        {REPORT} mark-complete 'did nothing' > ../said1; echo $? >> ../said1
        echo wrong > t.txt; echo > stray.txt
        {REPORT} mark-complete 'did it' --evidence 1 'I looked' > ../said2; echo $? >> ../said2
        echo right > t.txt; rm stray.txt
        {REPORT} mark-complete 'did it' --evidence 1 'I looked' --evidence 'it is short' '6 bytes' > ../said3
        echo $? >> ../said3
    """
    task = {"sh": script, "accept": ["it is right", "it is short"], "checks": ["grep -q right t.txt"]}
    done = place.run(place.plan({"t": task}))
    assert done.code == 0, (done, place.tasks())
    (folder,) = place.folder.glob("state/*/sessions/s/worktrees")
    said = [(folder / f"said{number}").read_text().splitlines() for number in (1, 2, 3)]
    assert said[0] == [
        "missing: no evidence for criterion 1: it is right",
        "missing: no evidence for criterion 2: it is short",
        "missing: nothing was changed",
        "missing: check failed: grep -q right t.txt: grep: t.txt: No such file or directory",
        "1",
    ]
    assert said[1] == [
        "missing: no evidence for criterion 2: it is short",
        "missing: 'stray.txt' is outside the task's write scope: undo that change",
        "missing: check failed: grep -q right t.txt: no output",
        "1",
    ]
    assert said[2] == ["accepted: end with exit status 0", "0"]


@pytest.mark.req("W5", "T5")
def test_an_agent_that_gives_up_has_failed_whatever_its_status(place: Place) -> None:
    script = f"echo x > t.txt; {REPORT} mark-failed 'the API is gone'; exit 0"
    assert place.run(place.plan({"t": {"sh": script}})).code == 1
    assert place.tasks()["t"]["reason"] == "its agent gave up: the API is gone"


@pytest.mark.req("T5", "W6")
def test_an_accepted_report_does_not_excuse_what_comes_after(place: Place) -> None:
    accept = f"echo x > {{0}}.txt; {REPORT} mark-complete done;"
    tasks = {
        "later": {"sh": accept.format("later") + " echo > other.txt"},
        "status": {"sh": accept.format("status") + " exit 3"},
        "undone": {"sh": accept.format("undone") + " rm undone.txt"},
    }
    assert place.run(place.plan(tasks)).code == 1
    reasons = {name: task["reason"] for name, task in place.tasks().items()}
    assert reasons == {
        "later": "refused: 'other.txt' is outside the task's write scope",
        "status": "its agent exited with status 3",
        "undone": "its agent exited with status 0 but changed nothing",
    }


@pytest.mark.security(11)
@pytest.mark.req("W5")
def test_an_agent_reports_for_itself_only(place: Place) -> None:
    found = "$(ls -d ../../logs/victim.1/agent.sock)"
    wait = "until [ -e ../../logs/{0}.1/{1} ]; do sleep 0.05; done"
    thief = (
        f"{wait.format('victim', 'agent.sock')}; COORD_AGENT_SOCKET={found} {REPORT} mark-failed stolen 2> thief.txt;"
        f" echo $? >> thief.txt; touch ../../logs/thief.1/tried"
    )
    victim = f"{wait.format('thief', 'tried')}; echo x > victim.txt"
    done = place.run(place.plan({"thief": {"sh": thief}, "victim": {"sh": victim}}))
    assert done.code == 0, (done, place.tasks())
    assert place.show("thief.txt") == "coord: only the attempt's own agent can report for it\n2\n"


@pytest.mark.req("W6", "T5")
def test_a_task_that_only_reads_must_tell_something(place: Place) -> None:
    tasks = {
        "prints": {"sh": "echo found three", "writes": []},
        "reports": {"sh": f"{REPORT} report-progress 'found three'", "writes": []},
        "silent": {"sh": "true", "writes": []},
    }
    assert place.run(place.plan(tasks)).code == 3
    states = {name: (task["state"], task["reason"]) for name, task in place.tasks().items()}
    assert states["silent"] == ("failed", "its agent exited with status 0 but told nothing")
    assert {states[name][0] for name in ("prints", "reports")} == {"completed"}


@pytest.mark.req("W5")
def test_python_reports_as_the_command_does(place: Place) -> None:
    program = (
        "from coordstore_orchestrator.agent import mark_complete, report_progress;"
        "report_progress('half', 'the rest'); open('t.txt', 'w').write('x');"
        "first = mark_complete('all'); second = mark_complete('all', {'it is x': 'see t.txt'});"
        "open('t.txt', 'w').write(repr((first, second)))"
    )
    task = {"sh": f'exec {sys.executable} -c "{program}"', "accept": ["it is x"]}
    done = place.run(place.plan({"t": task}))
    assert done.code == 0, (done, place.tasks())
    assert place.show("t.txt") == "(['no evidence for criterion 1: it is x'], [])"


@pytest.mark.req("W5")
def test_outside_of_an_agent_there_is_nobody_to_report_to(place: Place) -> None:
    done = place.coord("agent", "report-progress", "hello")
    assert done.code == 4
    assert "no worker listens" in done.err
    assert place.coord("agent", "mark-complete").code == 2
    assert "Report to the worker" in place.coord("agent", "--help").out


@pytest.mark.req("W6", "T5")
def test_an_agent_with_a_model_must_give_evidence_for_criteria(place: Place) -> None:
    talk = place.folder / "talk"
    talk.write_text(
        f"#!/bin/sh\necho x > $COORD_TASK.txt\n[ $COORD_TASK = silent ] || {REPORT} mark-complete ok --evidence 1 y\n"
    )
    talk.chmod(0o755)
    (place.repository / "coord.toml").write_text(f'[agents.talk]\nargv = ["{talk}"]\noutput = "claude"\n')
    rows = [
        {"id": name, "prompt": "do it", "writes": [f"{name}.txt"], "agent": "talk", "accept": ["it is done"]}
        for name in ("silent", "tells")
    ]
    plan = place.folder / "plan.json"
    plan.write_text(json.dumps({"goal": "test", "tasks": rows}))
    assert place.run(plan, "--allow-unproven").code == 3
    tasks = place.tasks()
    assert tasks["tells"]["state"] == "completed"
    assert tasks["silent"]["reason"].startswith("its agent ended without mark_complete")
