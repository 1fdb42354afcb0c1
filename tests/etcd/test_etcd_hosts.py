"""The same plan on sqlite and on etcd, by workers apart from the orchestrator: the same tree."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

import pytest

COORD = str(Path(sysconfig.get_path("scripts"), "coord"))


def git(where: Path, *args: str) -> str:
    done = subprocess.run(["git", "-C", str(where), *args], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def plan(folder: Path) -> Path:
    tasks: list[dict[str, Any]] = []
    for name, needs in (("a", []), ("b", []), ("c", ["a", "b"]), ("bad", [])):
        shell = (
            "exit 3"
            if name == "bad"
            else f"mkdir -p out; (cat out/*; echo {name}) > ../{name}.new; mv ../{name}.new out/{name}"
        )
        agent = {"command": ["sh", "-c", shell]}
        tasks.append({"id": name, "prompt": "write", "writes": [f"out/{name}"], "needs": needs, "agent": agent})
    path = folder / "plan.json"
    path.write_text(json.dumps({"goal": "same", "tasks": tasks}))
    return path


def tree_of(folder: Path, store: str) -> str:
    """Run the plan with a worker apart on a store; return the tree that landed in the shared repository."""
    work, shared = folder / "work", folder / "shared.git"
    git(Path(), "init", "-q", "-b", "main", str(work))
    for key, value in (("user.name", "T"), ("user.email", "t@example.invalid")):
        git(work, "config", key, value)
    git(work, "commit", "-q", "--allow-empty", "-m", "base")
    git(Path(), "clone", "-q", "--bare", str(work), str(shared))
    git(work, "remote", "add", "origin", str(shared))
    env = {**os.environ, "COORD_STORE": store}
    worker = subprocess.Popen([COORD, "worker", "--quiet"], env={**env, "COORD_HOME": str(folder / "worker")})
    try:
        argv = [COORD, "run", str(plan(folder)), "--session", "s", "--slots", "0", "--remote", "origin", "--quiet"]
        done = subprocess.run(
            argv, cwd=work, env={**env, "COORD_HOME": str(folder / "boss")}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 3, done.stdout + done.stderr
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=60) == 0
    finally:
        worker.kill()
        worker.wait()
    return git(shared, "rev-parse", "coord/s^{tree}")


@pytest.mark.req("S2", "W9")
@pytest.mark.timeout(180)
def test_the_same_plan_gives_the_same_tree_on_sqlite_and_on_etcd(tmp_path: Path, etcd_url: str) -> None:
    stores = {"sqlite": f"sqlite:{tmp_path}/store.db", "etcd": etcd_url}
    found = {}
    for name, store in stores.items():
        (tmp_path / name).mkdir()
        found[name] = tree_of(tmp_path / name, store)
    assert found["sqlite"] == found["etcd"]
