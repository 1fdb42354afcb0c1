"""Agents that delegate: real runs of stub agents, several processes each."""

from __future__ import annotations

import sysconfig
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.run.conftest import Place

pytestmark = pytest.mark.timeout(300)

PATIENCE = 120.0

COORD = str(Path(sysconfig.get_path("scripts")) / "coord")
PARENT = f"""
case $COORD_TASK in
t)
    echo mine > own.txt; git add -A; git commit -qm own
    one=$({COORD} agent delegate 'write one' --writes 'parts/one.txt' --name one) || exit 11
    again=$({COORD} agent delegate 'write one' --writes 'parts/one.txt' --name one) || exit 12
    two=$({COORD} agent delegate 'write two' --writes 'parts/two.txt') || exit 13
    [ "$one" = "$again" ] || exit 14
    {COORD} agent await --all > said.txt || exit 15
    grep -o 'git merge [0-9a-f]*' said.txt | while read -r line; do $line -q -m took || exit 16; done
    mv said.txt parts/said.txt
    ;;
*)
    test -f own.txt || exit 17
    mkdir -p parts
    name=$(grep -o 'write [a-z]*' "$COORD_PROMPT_FILE" | head -n1 | cut -d' ' -f2)
    echo "$name by $COORD_AGENT" > parts/$name.txt
    ;;
esac
"""


@pytest.mark.req("T4", "R7")
def test_one_slot_is_enough_for_an_agent_and_what_it_delegates(place: Place) -> None:
    plan = place.plan({"t": {"sh": PARENT, "writes": ["own.txt", "parts"]}})
    done = place.run(plan, "--slots", "1")
    tasks = place.tasks()
    assert done.code == 0, (done, tasks, place.coord("events", "s").out)
    assert list(tasks) == ["t", "t-1-1", "t-1-2"]
    assert [tasks[name]["name"] for name in ("t-1-1", "t-1-2")] == ["Subtask: @command one", "Subtask: @command"]
    assert all(task["state"] == "completed" and task["landed"] for task in tasks.values())
    assert [task["parent"] for task in tasks.values()] == [None, "t.1", "t.1"]
    assert place.show("parts/one.txt") == "one by t-1-1.1\n"
    assert place.show("parts/two.txt") == "two by t-1-2.1\n"
    assert "asleep until t-1-1, t-1-2" in place.coord("events", "s", "--agent", "t.1").out
    assert place.show("parts/said.txt").splitlines()[-2:] == ["t-1-1: completed", "t-1-2: completed"]


FAMILY = f"""
case $COORD_TASK in
told)
    {COORD} agent delegate 'too wide' --writes 'everything' 2> refused.txt && exit 21
    {COORD} agent delegate 'nobody' --agent nobody 2>> refused.txt && exit 22
    {COORD} agent await no-such 2>> refused.txt && exit 23
    {COORD} agent delegate 'fail' --name bad --writes refused.txt > id.txt || exit 24
    {COORD} agent await --all > said.txt; [ $? = 1 ] || exit 25
    rm id.txt
    ;;
leaves)
    {COORD} agent delegate 'sleep' > id.txt || exit 26
    while [ ! -e $STARTED ]; do sleep 0.1; done
    exit 27
    ;;
leaves-*) touch $STARTED; exec sleep 300 ;;
*) exit 9 ;;
esac
"""


@pytest.mark.req("T4", "T5")
def test_a_parent_is_told_of_failure_and_what_it_leaves_is_cancelled(place: Place) -> None:
    started = place.folder / "started"
    script = FAMILY.replace("$STARTED", str(started))
    plan = place.plan({"told": {"sh": script, "writes": ["*.txt"]}, "leaves": {"sh": script, "writes": []}})
    done = place.run(plan)
    tasks = place.tasks()
    assert done.code == 3, (done, tasks, place.coord("events", "s").out)
    assert {name: task["state"] for name, task in tasks.items()} == {
        "told": "completed", "told-1-1": "failed", "leaves": "failed", "leaves-1-1": "cancelled",
    }  # fmt: skip
    assert not tasks["told-1-1"]["landed"]
    refused = place.show("refused.txt")
    for said in ("'everything' reaches beyond", "'nobody'", "told.1 has not delegated no-such"):
        assert said in refused
    said = place.show("said.txt")
    assert "message from told-1-1.1: subtask told-1-1 (Subtask: @command bad) has failed" in said
    assert said.endswith("told-1-1: failed\n")
    assert "its parent leaves.1 has ended" in str(tasks["leaves-1-1"]["reason"])
    told = place.coord("events", "s", "--agent", "told.1").out
    for line in ("told-1-1: Subtask: @command bad", "told-1-1 failed its agent exited with status 9"):
        assert line in told, told
    screen = place.coord("inspect", "s").out
    assert screen.index("told-1-1") < screen.index("leaves")
    again = place.coord("retry", "s", "told-1-1")
    assert again.code
    assert "it is a subtask of told.1" in again.err


SLEEPER = f"""
echo "$COORD_AGENT" >> $LEDGER
case $COORD_TASK in
t)
    {COORD} agent delegate 'a part' --writes 'part.txt' || exit 31
    {COORD} agent await --all > $LEDGER.said || exit 32
    git merge -q -m took "$(grep -o 'git merge [0-9a-f]*' $LEDGER.said | cut -d' ' -f3)" || exit 33
    echo mine > own.txt
    ;;
*) until [ -e $GO ]; do sleep 0.1; done; echo "by $COORD_AGENT" > part.txt ;;
esac
"""


@pytest.mark.req("T4", "M12", "T5")
def test_a_run_killed_while_a_parent_sleeps_is_begun_anew_with_its_subtask(place: Place) -> None:
    ledger, go = place.folder / "ledger", place.folder / "go"
    script = SLEEPER.replace("$LEDGER", str(ledger)).replace("$GO", str(go))
    plan = place.plan({"t": {"sh": script, "writes": ["own.txt", "part.txt"]}})
    run = place.start("run", plan, "--session", "s", "--slots", "1")
    until = time.monotonic() + PATIENCE
    while not ledger.exists() or "t-1-1.1" not in ledger.read_text():  # with one slot: then its parent is asleep
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)
    run.kill()
    run.communicate()
    go.touch()
    done = place.run(plan, "--slots", "1")
    tasks = place.tasks()
    assert done.code == 0, (done, tasks, place.coord("events", "s").out)
    assert Counter(ledger.read_text().split()) == dict.fromkeys(["t.1", "t-1-1.1", "t.2", "t-2-1.1"], 1)
    assert [tasks[name]["state"] for name in ("t", "t-2-1")] == ["completed", "completed"]
    assert tasks["t-1-1"]["state"] in {"failed", "cancelled"}  # it was lost, and nobody waits for it any more
    assert {name: task["landed"] for name, task in tasks.items()} == {"t": True, "t-1-1": False, "t-2-1": True}
    assert place.show("part.txt") == "by t-2-1.1\n"
