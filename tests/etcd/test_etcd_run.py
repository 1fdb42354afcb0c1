"""Whole commands on etcd: a run from the plan to the merged result, and a copy there and back."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.cli.main import main
from coordstore.model import Append, Put
from tests.hostlab.lab import eventually

if TYPE_CHECKING:
    from tests.etcdlab.server import Server

COORD = str(Path(sysconfig.get_path("scripts"), "coord"))


def ran(*argv: str, cwd: Path, **env: str) -> str:
    done = subprocess.run(argv, cwd=cwd, env={**os.environ, **env}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def place(folder: Path, script: str, *names: str) -> Path:
    """Make a repository, and a plan of tasks beside it; return the repository."""
    repository = folder / "repository"
    repository.mkdir()
    for args in (["init", "-q", "-b", "main"], ["config", "user.name", "T"], ["config", "user.email", "t@t"]):
        ran("git", *args, cwd=repository)
    (repository / "README").write_text("hello\n")
    ran("git", "add", "-A", cwd=repository)
    ran("git", "commit", "-qm", "base", cwd=repository)
    agent = {"command": ["sh", "-c", script]}
    tasks: list[dict[str, Any]] = [
        {"id": name, "prompt": "write", "writes": [f"{name}.txt"], "agent": agent} for name in names
    ]
    (folder / "plan.json").write_text(json.dumps({"goal": "etcd", "tasks": tasks}))
    return repository


@pytest.mark.req("S1", "S2", "S3")
@pytest.mark.timeout(120)
def test_a_run_on_etcd_lands(tmp_path: Path, etcd_url: str) -> None:
    repository = place(tmp_path, 'echo "$COORD_TASK" > $COORD_TASK.txt', "a", "b", "c")
    state = {"COORD_HOME": str(tmp_path / "state")}
    ran(COORD, "--store", etcd_url, "run", str(tmp_path / "plan.json"), "--session", "s", cwd=repository, **state)
    told = json.loads(ran(COORD, "--store", etcd_url, "inspect", "s", "--json", cwd=repository, **state))
    (session,) = told["sessions"]
    assert [(task["id"], task["state"], task["landed"]) for task in session["tasks"]] == [
        (name, "completed", True) for name in ("a", "b", "c")
    ]
    files = ran("git", "ls-tree", "-r", "--name-only", session["result_ref"], cwd=repository).split()
    assert {"a.txt", "b.txt", "c.txt"} <= set(files)


@pytest.mark.req("M12", "S2")
@pytest.mark.timeout(240)
def test_a_run_outlasts_a_store_that_is_away_for_longer_than_its_lease(tmp_path: Path, etcd_server: Server) -> None:
    script = 'test -e $STARTED && echo "$COORD_AGENT" > $COORD_TASK.txt && exit; touch $STARTED; exec sleep 300'
    started = tmp_path / "started"
    repository = place(tmp_path, script.replace("$STARTED", str(started)), "a")
    argv = [COORD, "--store", f"etcd://{etcd_server.endpoint}/p", "run", str(tmp_path / "plan.json"), "--session", "s"]
    env = {**os.environ, "COORD_HOME": str(tmp_path / "state")}
    said = tmp_path / "said"
    with said.open("w") as out, subprocess.Popen(argv, cwd=repository, env=env, stdout=out, stderr=out) as run:
        try:
            eventually(started.exists, "the agent starts")
            etcd_server.stop()
            eventually(lambda: "going on as soon as it answers" in said.read_text(), "it is told")
            etcd_server.cont()
            assert run.wait(120) == 0, said.read_text()
        finally:
            run.kill()
    assert ran("git", "show", "coord/s:a.txt", cwd=repository) == "a.2\n"


@pytest.mark.req("S11")
@pytest.mark.timeout(120)
def test_a_copy_goes_to_etcd_and_back(tmp_path: Path, etcd_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    first, last = f"sqlite:{tmp_path}/first.db", f"file:{tmp_path}/last"

    async def fill() -> None:
        async with open_store(first) as store:
            for number in range(70):
                appends = [Append("s/a", b"%d" % number), Append("s/b", b"\0\xff")]
                await store.transact([Put(f"k/{number % 50}", b"%d" % number)], appends=appends)
            await store.trim("s/a", 30)

    async def held(url: str) -> tuple[Any, Any, Any]:
        async with open_store(url) as store:
            values = {entry.key: entry.value for entry in (await store.list("k")).entries}
            records = [(record.sequence, record.data) for record in await store.read("s/a", after=30)]
            return values, records, await store.heads()

    asyncio.run(fill())
    assert main(["copy", first, etcd_url]) == 0
    assert main(["copy", etcd_url, last]) == 0
    assert capfd.readouterr().out.count("verified") == 2
    assert asyncio.run(held(first)) == asyncio.run(held(etcd_url)) == asyncio.run(held(last))
