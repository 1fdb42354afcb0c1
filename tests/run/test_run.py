"""`coord run` from the outside: real agents, a real repository, the exit status and the result."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.conftest import Place

Tasks = dict[str, dict[str, Any]]


@pytest.mark.req("G1", "T6", "W2")
def test_all_land_and_the_last_line_is_the_next_command(place: Place) -> None:
    before = place.untouched()
    done = place.run(place.plan({"x": {}, "y": {}, "z": {"needs": ["x", "y"], "sh": "cat x.txt y.txt > z.txt"}}))
    assert (done.code, done.last) == (0, "git merge coord/s"), done
    assert place.show("z.txt") == "x\ny\n"
    assert place.untouched() == before
    assert place.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/coord/s", "refs/heads/main"]
    assert all(task["landed"] and task["state"] == "completed" for task in place.tasks().values())


@pytest.mark.req("W3", "P3")
def test_agents_run_at_the_same_time(place: Place) -> None:
    meet = place.folder / "meet"
    meet.mkdir()
    wait = f"touch {meet}/$COORD_TASK; until [ $(ls {meet} | wc -l) = 5 ]; do sleep 0.01; done; echo > $COORD_TASK.txt"
    assert place.run(place.plan({f"t{number}": {"sh": wait} for number in range(5)})).code == 0


@pytest.mark.req("T5", "W6", "M10", "G1")
def test_what_is_not_good_is_named_and_left_out(place: Place) -> None:
    done = place.run(
        place.plan(
            {
                "good": {},
                "crash": {"sh": "echo half > crash.txt; exit 3"},
                "idle": {"sh": "echo 'I am done!'"},
                "greedy": {"sh": "echo > greedy.txt; echo > other.txt"},
                "wrong": {"checks": ["grep -q right wrong.txt"]},
                "after": {"needs": ["crash"]},
                "killed": {"sh": "kill -9 $$"},
            }
        )
    )
    tasks = place.tasks()
    assert done.code == 3, done
    assert place.git("ls-tree", "--name-only", "coord/s").split() == ["a.txt", "b.txt", "good.txt", "shared.txt"]
    reasons = {name: task["reason"] for name, task in tasks.items()}
    assert reasons == {
        "good": None,
        "crash": "its agent exited with status 3",
        "idle": "its agent exited with status 0 but changed nothing",
        "greedy": "refused: 'other.txt' is outside the task's write scope",
        "wrong": "check failed: grep -q right wrong.txt: no output",
        "after": "needs crash, which failed",
        "killed": "its agent was killed by SIGKILL",
    }
    assert {name: task["state"] for name, task in tasks.items()} == {
        **dict.fromkeys(tasks, "failed"),
        "good": "completed",
        "after": "cancelled",
    }


@pytest.mark.req("M9")
def test_work_of_a_failed_attempt_stays_on_its_branch(place: Place) -> None:
    place.run(place.plan({"t": {"sh": "echo half > t.txt; exit 1"}}))
    (agents,) = place.folder.glob("state/*/sessions/s/agents.git")
    assert place.git("--git-dir", str(agents), "show", "refs/heads/t.1:t.txt") == "half\n"


@pytest.mark.req("P2", "P5")
def test_tasks_that_could_collide_are_refused_before_anything_starts(place: Place) -> None:
    refused = place.run(place.plan({"one": {"writes": ["shared.txt"]}, "two": {"writes": ["*.txt"]}}))
    assert refused.code == 2
    assert "tasks one and two" in refused.err
    assert "shared.txt" in refused.err
    assert not list(place.folder.glob("state/*/sessions/*"))


@pytest.mark.req("G1", "T3")
@pytest.mark.parametrize("hand_back", [0, 1])
def test_work_that_conflicts_goes_back_to_its_agent_when_the_plan_says_so(place: Place, hand_back: int) -> None:
    """Two names that are one file on other systems: the agent that came second takes another one."""
    wait = f"until test -e {place.folder}/first; do sleep 0.01; done"
    second = (
        f"{wait}; if grep -q 'one file where case does not count'; then echo b > other.txt; else echo b > N.txt; fi"
    )
    tasks: Tasks = {
        "one": {"sh": "echo a > n.txt", "writes": ["n.txt"]},
        "after": {"needs": ["one"], "sh": f"touch {place.folder}/first; echo > after.txt"},
        "two": {"sh": second, "writes": ["N.txt", "other.txt"]},
    }
    done = place.run(place.plan(tasks, hand_back=hand_back))
    attempts = place.tasks()["two"]["attempts"]
    assert (done.code, len(attempts)) == ((0, 2) if hand_back else (3, 1)), done
    names = place.git("ls-tree", "--name-only", "coord/s").split()
    assert ("other.txt" in names, "n.txt" in names, "N.txt" in names) == (bool(hand_back), True, False)


@pytest.mark.req("G2")
def test_validation_finds_the_task_that_breaks_the_whole(place: Place) -> None:
    tasks: Tasks = {name: {} for name in ("a1", "bad", "c1")} | {"later": {"needs": ["bad"]}}
    done = place.run(place.plan(tasks, validate=["test ! -e bad.txt"]))
    assert done.code == 3, done
    assert place.git("ls-tree", "--name-only", "coord/s", "a1.txt", "bad.txt", "c1.txt", "later.txt").split() == [
        "a1.txt",
        "c1.txt",
    ]
    assert "passes without it" in place.tasks()["bad"]["reason"]
    assert place.tasks()["later"]["reason"] == "needs bad, which was left out"


@pytest.mark.req("G2")
def test_validation_sees_the_whole_and_nothing_lands_when_it_never_passes(place: Place) -> None:
    assert place.run(place.plan({"x": {}, "y": {}}, validate=["test -e x.txt && test -e y.txt"])).code == 0
    plan = place.plan({"x": {}, "y": {}}, validate=["echo no; exit 1"])
    done = place.coord("run", plan, "--session", "never")
    assert done.code == 1, done
    assert "coord/never" not in place.git("for-each-ref")


@pytest.mark.req("W1", "T6")
def test_an_agent_gets_its_prompt_and_only_the_listed_environment(place: Place) -> None:
    show = "cat > in.txt; cmp in.txt $COORD_PROMPT_FILE; env | cut -d= -f1 | sort > t.txt; rm in.txt"
    prompt = "Line one\n$(touch /canary) `x` ünïcode\t\u202e end"
    plan = place.plan({"t": {"sh": f"head -c {len(prompt.encode())} > t.txt", "prompt": prompt}})
    assert place.run(plan).code == 0
    assert place.show("t.txt") == prompt
    plan = place.plan({"t": {"sh": show}})
    assert place.coord("run", plan, "--session", "env", SECRET_TOKEN="x", COORD_STORE="").code in (0, 2)
    assert place.coord("run", plan, "--session", "env2", SECRET_TOKEN="x").code == 0
    names = set(place.show("t.txt", "env2").split())
    assert {"COORD_SESSION", "COORD_TASK", "COORD_AGENT", "COORD_PROMPT_FILE", "PATH", "HOME"} <= names
    assert not names & {"SECRET_TOKEN", "COORD_HOME", "COORD_STORE", "PYTEST_CURRENT_TEST"}


@pytest.mark.req("W2")
def test_setup_prepares_each_worktree(place: Place) -> None:
    plan = place.plan(
        {"t": {"sh": "cat .tool > t.txt"}},
        setup=["echo ready > .tool; mkdir 'a [b]'; echo > 'a [b]/c d'"],
    )
    done = place.run(plan)
    assert done.code == 0, (done, place.tasks())
    broken = place.plan({"t": {}}, setup=["echo cannot >&2; exit 1"])
    assert place.coord("run", broken, "--session", "broken").code == 1
    assert "cannot" in place.tasks("broken")["t"]["reason"]


@pytest.mark.req("T3")
def test_attempts_are_bounded_and_each_is_kept(place: Place) -> None:
    done = place.run(place.plan({"t": {"sh": "exit 1", "limits": {"attempts": 3}}}))
    assert done.code == 1
    assert [attempt["agent"] for attempt in place.tasks()["t"]["attempts"]] == ["t.1", "t.2", "t.3"]


@pytest.mark.req("M6")
def test_a_deadline_ends_an_agent(place: Place) -> None:
    place.run(place.plan({"t": {"sh": "exec sleep 60", "limits": {"deadline": 0.3}}}))
    assert place.tasks()["t"]["reason"] == "stopped at its deadline of 0.3 s"


@pytest.mark.req("G1")
def test_without_merge_nothing_reaches_the_repository_until_it_is_asked_for(place: Place) -> None:
    plan = place.plan({"t": {}})
    assert place.run(plan, "--no-merge").code == 0
    assert "coord/s" not in place.git("for-each-ref")
    assert place.run(plan).code == 0
    assert place.show("t.txt") == "t\n"
    assert len(place.tasks()["t"]["attempts"]) == 1


@pytest.mark.req("M12")
def test_another_plan_under_the_same_name_is_refused(place: Place) -> None:
    assert place.run(place.plan({"t": {}})).code == 0
    done = place.run(place.plan({"u": {}}))
    assert (done.code, "another plan" in done.err) == (2, True)


def diverge(place: Place) -> None:
    place.git("checkout", "-qb", "side")
    (place.repository / "a.txt").write_text("theirs\n")
    place.git("commit", "-qam", "side")
    place.git("checkout", "-q", "main")
    (place.repository / "a.txt").write_text("mine\n")
    place.git("commit", "-qam", "mine")


def rebase(place: Place) -> None:
    diverge(place)
    with pytest.raises(subprocess.CalledProcessError):
        place.git("rebase", "side")


def merge(place: Place) -> None:
    diverge(place)
    with pytest.raises(subprocess.CalledProcessError):
        place.git("merge", "side")


def lock(place: Place) -> None:
    (place.repository / ".git/index.lock").write_text("")


def make_shallow(place: Place) -> None:
    place.git("commit", "-q", "--allow-empty", "-m", "more")
    place.git("clone", "-q", "--depth=1", f"file://{place.repository}", str(place.folder / "shallow"))
    place.repository = place.folder / "shallow"


def submodule(place: Place) -> None:
    place.git("clone", "-q", str(place.repository), str(place.folder / "other"))
    place.git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(place.folder / "other"), "vendor")
    place.git("commit", "-qm", "vendor")


UNUSUAL = {
    "rebase is in progress": rebase,
    "merge is in progress": merge,
    "index.lock": lock,
    "shallow clone": make_shallow,
    "submodule": submodule,
}


@pytest.mark.req("G1")
@pytest.mark.parametrize(
    "state",
    [
        *("dirty", "detached", "elsewhere", "bare", "hooks"),
        *("rebase is in progress", "merge is in progress", "index.lock", "shallow clone", "submodule"),
    ],
)
def test_whatever_the_checkout_is_in_it_stays_so(place: Place, state: str, tmp_path: Path) -> None:
    if state == "dirty":
        (place.repository / "a.txt").write_text("mine\n")
        (place.repository / "new.txt").write_text("mine\n")
    elif state == "detached":
        place.git("checkout", "-q", "--detach")
    elif state == "elsewhere":
        (place.repository / "sub dir").mkdir()
    elif state == "bare":
        place.git("clone", "-q", "--bare", str(place.repository), str(tmp_path / "bare.git"))
        place.repository = tmp_path / "bare.git"
    elif state in UNUSUAL:
        UNUSUAL[state](place)
    else:
        hook = place.repository / ".git/hooks/post-checkout"
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/canary\n")
        hook.chmod(0o755)
        place.git("config", "core.fsmonitor", f"touch {tmp_path}/canary")
        place.git("config", "commit.gpgsign", "true")
    before = place.untouched()
    done = place.run(place.plan({"t": {}}))
    assert done.code == 0, done
    assert place.untouched() == before
    assert place.show("t.txt") == "t\n"
    assert not (tmp_path / "canary").exists()
    if state == "dirty":
        assert "2 uncommitted changes" in done.out
    if state in UNUSUAL and state != "submodule":
        assert state in done.out


@pytest.mark.req("C1")
def test_json_is_the_session_as_inspect_shows_it(place: Place) -> None:
    done = place.run(place.plan({"t": {}}), "--json")
    shown = json.loads(done.out)
    assert shown["sessions"] == json.loads(place.coord("inspect", "s", "--json").out)["sessions"]
    assert shown["schema"] == 1


@pytest.mark.parametrize(
    "argv", [["run", "absent.yaml"], ["run"], ["run", "PLAN", "--slots", "0"], ["plan", "check", "x"]]
)
def test_wrong_usage_ends_with_2(place: Place, argv: list[str]) -> None:
    plan = place.plan({"t": {}})
    done = place.coord(*(str(plan) if word == "PLAN" else word for word in argv))
    assert (done.code, done.out) == (2, ""), done
    assert done.err.startswith("coord: ")


def test_no_commit_and_no_repository_are_told_what_to_do(place: Place, tmp_path: Path) -> None:
    plan = place.plan({"t": {}})
    empty = tmp_path / "empty"
    empty.mkdir()
    done = place.coord("run", plan, "--repo", empty)
    assert (done.code, "not inside a git repository" in done.err) == (2, True), done
    place.git("init", "-q", str(empty))
    done = place.coord("run", plan, "--repo", empty)
    assert (done.code, "no commit yet" in done.err) == (2, True), done
