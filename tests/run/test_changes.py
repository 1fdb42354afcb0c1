"""Work that is reviewed before it is merged: by a person, by the validation, by an agent; nothing lands unapproved."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

    from tests.run.conftest import Place

pytestmark = [pytest.mark.timeout(300), pytest.mark.req("G3")]


def listed(place: Place) -> dict[str, dict[str, Any]]:
    done = place.coord("changes", "list", "s", "--json")
    rows = json.loads(done.out)["changes"] if done.code == 0 else []
    return {row["id"]: row for row in rows}


def until(place: Place, *agents: str, state: str = "open") -> dict[str, dict[str, Any]]:
    """Wait until these changes are in a state."""
    deadline = time.monotonic() + 60
    while True:
        found = listed(place)
        if all(agent in found and found[agent]["state"] == state for agent in agents):
            return found
        assert time.monotonic() < deadline, found


@pytest.fixture
def running(place: Place) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give what starts a run in the background; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: Any) -> subprocess.Popen[str]:
        started.append(place.start("run", *args, "--session", "s"))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def test_a_person_approves_sends_back_and_rejects(place: Place, running: Callable[..., subprocess.Popen[str]]) -> None:
    again = "grep -q 'more cheerful' $COORD_PROMPT_FILE && echo cheerful > y.txt || echo plain > y.txt"
    before = place.untouched()
    process = running(place.plan({"x": {}, "y": {"sh": again}, "z": {}}), "--review", "person")
    until(place, "x.1", "y.1", "z.1")
    assert not any(task["landed"] for task in place.tasks().values())
    assert place.coord("changes", "approve", "s", "x.1", "-m", "good").code == 0
    assert place.coord("changes", "request", "s", "y.1", "-m", "make it more cheerful").code == 0
    assert place.coord("changes", "reject", "s", "z.1", "-m", "not needed").code == 0
    until(place, "y.2")
    refused = place.coord("changes", "approve", "s", "z.1")
    assert (refused.code, "is rejected already" in refused.err) == (1, True), refused
    assert place.coord("changes", "approve", "s", "y.2").code == 0
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, (out, err)
    assert "? x.1        in review  coord changes show s x.1" in out
    assert (place.show("x.txt"), place.show("y.txt")) == ("x\n", "cheerful\n")
    assert "z.txt" not in place.git("ls-tree", "--name-only", "coord/s").split()
    states = {agent: row["state"] for agent, row in listed(place).items()}
    assert states == {"x.1": "merged", "y.1": "changes-requested", "y.2": "merged", "z.1": "rejected"}
    assert "not needed" in place.tasks()["z"]["reason"]
    assert place.untouched() == before
    shown = place.coord("changes", "show", "s", "y.1").out
    assert "make it more cheerful" in shown
    assert "+plain" in shown
    told = place.coord("events", "s").out
    assert told.count("review") >= 7  # opened four times, decided four times, merged twice
    assert place.coord("changes", "show", "s", "nope.1").code == 2


def test_an_interrupted_run_leaves_its_changes_and_they_are_merged_without_agents(
    place: Place, running: Callable[..., subprocess.Popen[str]]
) -> None:
    process = running(place.plan({"x": {}, "y": {}}), "--review", "person")
    until(place, "x.1", "y.1")
    process.terminate()
    process.communicate(timeout=60)
    assert place.coord("changes", "merge", "s", "x.1").code == 0
    states = {agent: row["state"] for agent, row in listed(place).items()}
    assert states == {"x.1": "merged", "y.1": "open"}
    assert place.git("for-each-ref", "refs/heads/coord") == ""  # a session lands when all of it is settled
    assert place.coord("changes", "merge", "s", "y.1").code == 0
    assert (place.show("x.txt"), place.show("y.txt")) == ("x\n", "y\n")


def test_what_passes_the_validation_is_approved_and_the_rest_goes_back(place: Place) -> None:
    script = "if grep -q 'validation fails' $COORD_PROMPT_FILE; then echo good > y.txt; else echo bad > y.txt; fi"
    plan = place.plan({"x": {}, "y": {"sh": script}}, validate=["! grep -q bad y.txt 2>/dev/null"])
    done = place.run(plan, "--review", "validation")
    assert done.code == 0, done
    found = listed(place)
    assert {agent: row["state"] for agent, row in found.items()} == {
        "x.1": "merged",
        "y.1": "changes-requested",
        "y.2": "merged",
    }
    assert found["x.1"]["by"] == "coord"
    assert "the validation fails: ! grep -q bad" in found["y.1"]["comment"]


REVIEWER = """
if git diff --quiet "$(git rev-parse HEAD)" 2>/dev/null; then :; fi
test -e y.txt && { echo reject; echo "no y, please"; } > coord-review.txt || echo approve > coord-review.txt
grep -q 'do [xy]' "$COORD_PROMPT_FILE" || rm coord-review.txt
"""


def test_an_agent_reviews(place: Place) -> None:
    script = place.folder / "reviewer.sh"
    script.write_text(REVIEWER)
    (place.repository / "coord.toml").write_text(f'[agents.critic]\nargv = ["sh", "{script}"]\n')
    done = place.run(place.plan({"x": {}, "y": {}}), "--review", "critic")
    assert done.code == 3, done
    found = listed(place)
    assert (found["x.1"]["state"], found["y.1"]["state"], found["y.1"]["by"]) == ("merged", "rejected", "critic")
    assert "no y, please" in place.tasks()["y"]["reason"]


SPOKEN_TO = """
import json, sys
lines = sys.stdin.read().splitlines()
(line,) = lines
asked = json.loads(line)["message"]["content"][0]["text"]
open("coord-review.txt", "w").write("approve" if asked.startswith("Review one change.") else "reject")
"""


@pytest.mark.req("R7")
def test_an_agent_that_reads_messages_is_asked_for_its_review_in_one(place: Place) -> None:
    script = place.folder / "reviewer.py"
    script.write_text(SPOKEN_TO)
    argv = json.dumps([sys.executable, str(script), "--input-format", "stream-json"])
    (place.repository / "coord.toml").write_text(f"[agents.critic]\nargv = {argv}\n")
    done = place.run(place.plan({"x": {}}), "--review", "critic", "--allow-unproven")
    assert done.code == 0, done
    assert listed(place)["x.1"]["state"] == "merged", "without a verdict a person would be waited for"


def test_unknown_reviewers_and_forges_are_refused_before_anything_starts(place: Place) -> None:
    plan = place.plan({"x": {}})
    for words, said in ((("--review", "nobody"), "no reviewer 'nobody'"), (("--forge", "x"), "no forge 'x'")):
        done = place.run(plan, *words)
        assert (done.code, said in done.err) == (2, True), done
    assert place.coord("changes", "list", "s").code == 2
