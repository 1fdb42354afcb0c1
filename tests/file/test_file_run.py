"""`coord run` on a store of files, from the plan to the merged result, with the tree to look at meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

COORD = str(Path(sysconfig.get_path("scripts"), "coord"))


def ran(*argv: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.req("S1", "S2", "S3")
def test_a_run_on_files_lands_and_can_be_followed_with_cat(tmp_path: Path, path: Path, url: str) -> None:
    repository = tmp_path / "repository"
    repository.mkdir()
    for args in (["init", "-q", "-b", "main"], ["config", "user.name", "T"], ["config", "user.email", "t@t"]):
        ran("git", *args, cwd=repository)
    (repository / "README").write_text("hello\n")
    ran("git", "add", "-A", cwd=repository)
    ran("git", "commit", "-qm", "base", cwd=repository)
    status = path / "s/agents" / "$COORD_AGENT" / "status"
    script = f'cat {status} > seen-$COORD_TASK.txt 2>/dev/null; echo "$COORD_TASK" > $COORD_TASK.txt'
    tasks: list[dict[str, Any]] = [
        {
            "id": name,
            "prompt": "write",
            "writes": [f"{name}.txt", f"seen-{name}.txt"],
            "agent": {"command": ["sh", "-c", script]},
        }
        for name in ("a", "b", "c")
    ]
    (tmp_path / "plan.json").write_text(json.dumps({"goal": "files", "tasks": tasks}))
    state = {"COORD_HOME": str(tmp_path / "state")}
    ran(COORD, "--store", url, "run", str(tmp_path / "plan.json"), "--session", "s", cwd=repository, **state)
    told = json.loads(ran(COORD, "--store", url, "inspect", "s", "--json", cwd=repository, **state))
    (session,) = told["sessions"]
    assert [(task["id"], task["state"], task["landed"]) for task in session["tasks"]] == [
        (name, "completed", True) for name in ("a", "b", "c")
    ]
    files = ran("git", "ls-tree", "-r", "--name-only", session["result_ref"], cwd=repository).split()
    assert {"a.txt", "b.txt", "c.txt"} <= set(files)
    assert (path / "s/agents/a.1/status").read_bytes().strip(b'"') == b"completed"
    (events,) = (path / "s/events/a.1").iterdir()
    assert all("record" in json.loads(line) for line in events.read_text().splitlines())
