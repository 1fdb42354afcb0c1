"""`coord run` killed with -9 at random moments and started again: nothing runs twice, nothing is lost, nothing is left.

COORD_FAULT_TRIALS says how many moments (a few by default), COORD_FAULT_SEED which; each failure names its seed.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import sysconfig
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

TRIALS = int(os.environ.get("COORD_FAULT_TRIALS", "6"))
SEED = int(os.environ.get("COORD_FAULT_SEED", "1"))
LONGEST = 2.5
"""Seconds within which the kill comes; an undisturbed run takes about one and a half."""
NEEDS = {"a": [], "b": [], "c": [], "d": ["a", "b"], "e": ["d"]}
AGENT = """
echo "begin $COORD_AGENT" >> {ledger}
setsid sh -c 'sleep {mark} & sleep {mark}' > /dev/null 2>&1 &
sleep 0.2
echo "work of $COORD_TASK" > {task}.txt
sleep 0.1
echo "end $COORD_AGENT" >> {ledger}
"""


@dataclass
class Stage:
    """A repository, a plan on it, and what is to be seen from outside."""

    folder: Path
    mark: str
    env: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.repository = self.folder / "repository"
        self.ledger = self.folder / "ledger"
        self.repository.mkdir()
        self.env = {**os.environ, "COORD_HOME": str(self.folder / "state")}
        for name in range(30):
            (self.repository / f"file{name}.txt").write_text(f"{name}\n")
        for args in (["init", "-q", "-b", "main"], ["config", "user.name", "T"], ["config", "user.email", "t@t"]):
            self.git(*args)
        self.git("add", "-A")
        self.git("commit", "-qm", "base")
        tasks = [
            {
                "id": task,
                "prompt": f"write {task}.txt",
                "writes": [f"{task}.txt"],
                "needs": needs,
                "agent": {"command": ["sh", "-c", AGENT.format(ledger=self.ledger, mark=self.mark, task=task)]},
            }
            for task, needs in NEEDS.items()
        ]
        (self.folder / "plan.json").write_text(json.dumps({"goal": "survive", "tasks": tasks}))

    def git(self, *args: str) -> str:
        done = subprocess.run(["git", "-C", str(self.repository), *args], capture_output=True, text=True, check=True)
        return done.stdout

    def start(self) -> subprocess.Popen[str]:
        argv = [self.coord, "run", str(self.folder / "plan.json"), "--session", "s"]
        return subprocess.Popen(
            argv, cwd=self.repository, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )

    def inspect(self) -> dict[str, Any]:
        argv = [self.coord, "inspect", "s", "--json"]
        done = subprocess.run(argv, cwd=self.repository, env=self.env, capture_output=True, text=True, check=False)
        sessions = json.loads(done.stdout)["sessions"] if done.returncode == 0 else []
        return {task["id"]: task for session in sessions for task in session["tasks"]}

    @property
    def coord(self) -> str:
        return str(Path(sysconfig.get_path("scripts")) / "coord")

    def marked(self) -> list[str]:
        """Return the processes that carry the trial's mark in their arguments."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if self.mark.encode() in arguments:
                found.append(f"{folder.name}: {arguments}")
        return found


@pytest.mark.req("M12", "T5", "W3", "G4", "S9")
@pytest.mark.timeout(120)
@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
@pytest.mark.parametrize("seed", range(SEED, SEED + TRIALS))
def test_a_run_that_was_killed_goes_on_where_it_was(tmp_path: Path, seed: int) -> None:
    """Kill at a moment that the seed chooses, then run the same command to its end."""
    chance = random.Random(seed)
    stage = Stage(tmp_path, f"3{chance.randrange(10**6):06d}")
    before = stage.git("status", "--porcelain=v2", "--branch"), (stage.repository / ".git/config").read_bytes()
    killed = stage.start()
    moment = chance.uniform(0.05, LONGEST)
    try:
        killed.wait(moment)
    except subprocess.TimeoutExpired:
        killed.kill()
    first, _ = killed.communicate()
    at_kill = stage.inspect()
    again = stage.start()
    second, _ = again.communicate(timeout=60)
    said = f"seed {seed}, killed at {moment:.2f} s\n--- first\n{first}\n--- second\n{second}"
    assert again.returncode == 0, said
    check_tasks(stage, at_kill, said)
    check_nothing_left(stage, said)
    after = stage.git("status", "--porcelain=v2", "--branch"), (stage.repository / ".git/config").read_bytes()
    assert after == before, said


def check_tasks(stage: Stage, at_kill: dict[str, Any], said: str) -> None:
    """Every task completed once and landed once; what was completed at the kill was not touched again."""
    tasks = stage.inspect()
    began = Counter(line.split()[1] for line in stage.ledger.read_text().splitlines() if line.startswith("begin"))
    assert set(tasks) == set(NEEDS), said
    for name, task in tasks.items():
        states = [attempt["state"] for attempt in task["attempts"]]
        assert states.count("completed") == 1, (said, task)
        assert states[-1] == "completed", (said, task)
        assert task["landed"], (said, task)
        if name in at_kill and at_kill[name]["state"] == "completed":
            assert len(task["attempts"]) == len(at_kill[name]["attempts"]), (said, task)
    assert all(times == 1 for times in began.values()), (said, began)
    merges = stage.git("log", "--merges", "--first-parent", "--format=%s", "coord/s").splitlines()
    merged = Counter(line.split()[1].partition(".")[0] for line in merges)
    assert merged == dict.fromkeys(NEEDS, 1), (said, merges)
    assert sorted(stage.git("ls-tree", "--name-only", "coord/s").split())[:5] == [f"{task}.txt" for task in NEEDS], said


def check_nothing_left(stage: Stage, said: str) -> None:
    """No process, no worktree, no ref but the result."""
    assert stage.marked() == [], said
    homes = list((stage.folder / "state").iterdir())
    session = homes[0] / "sessions/s"
    assert list(session.glob("worktrees/*")) == [], said
    assert stage.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/coord/s", "refs/heads/main"], said
    stage.git("fsck", "--strict")
