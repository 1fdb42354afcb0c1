"""`coord run` and `coord worker` apart from each other: processes that share a store and a git remote, nothing else."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sysconfig
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.run.conftest import Place

COORD = str(Path(sysconfig.get_path("scripts")) / "coord")
PATIENCE = 90.0


def eventually(what: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> Any:
    """Return what a call gives once it is true; fail when that takes too long, or the process ends before."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if found := what():
            return found
        if process is not None and process.poll() is not None and not what():
            raise AssertionError(process.communicate())
        time.sleep(0.2)  # a look may take a process of its own
    raise AssertionError(what)


def is_free(path: Path) -> bool:
    """Tell whether a lock can be had within a second: those who run hold it for a moment only."""
    until = time.monotonic() + 1
    with path.open("rb") as file:
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            time.sleep(0.01)
    return False


class Hosts:
    """A store and a bare repository that all reach, and processes with state folders of their own."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.folder = place.folder
        self.store = f"sqlite:{place.folder}/shared.db"
        self.remote = place.folder / "remote.git"
        place.git("clone", "-q", "--bare", str(place.repository), str(self.remote))
        self.started: list[subprocess.Popen[str]] = []

    def start(self, host: str, *args: str | Path, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start `coord` as it would run on a host of that name."""
        env = {**os.environ, "COORD_HOME": str(self.folder / host), "COORD_STORE": self.store}
        log = (self.folder / f"{host}.out").open("a")
        with log:
            process = subprocess.Popen(
                [COORD, *map(str, args)], cwd=cwd or self.folder, env=env, stdout=log, stderr=log, text=True
            )
        self.started.append(process)
        return process

    def worker(self, host: str, *args: str) -> subprocess.Popen[str]:
        """Start a worker and wait until it serves."""
        process = self.start(host, "worker", *args)
        eventually(lambda: "worker with" in self.said(host), process)
        return process

    def run(self, host: str, plan: Path, *args: str, cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start an orchestrator without agents of its own."""
        where = cwd or self.place.repository
        options = ("--session", "s", "--slots", "0", "--remote", str(self.remote))
        return self.start(host, "run", plan, *options, *args, cwd=where)

    def said(self, host: str) -> str:
        return (self.folder / f"{host}.out").read_text()

    def ended(self, process: subprocess.Popen[str], host: str) -> int:
        process.wait(timeout=PATIENCE)
        return process.returncode

    def tasks(self) -> dict[str, Any]:
        env = {**os.environ, "COORD_STORE": self.store}
        argv = [COORD, "inspect", "s", "--json"]
        done = subprocess.run(argv, env=env, cwd=self.folder, capture_output=True, text=True, check=False)
        if done.returncode:
            return {}
        sessions = json.loads(done.stdout)["sessions"]
        return {task["id"]: task for task in sessions[0]["tasks"]} if sessions else {}

    def freeze(self, process: subprocess.Popen[str]) -> None:
        """Stop a process, at a moment when it holds no lock of the store: nobody else could write then."""
        while True:
            process.send_signal(signal.SIGSTOP)
            eventually(lambda: "\nState:\tT" in Path(f"/proc/{process.pid}/status").read_text())
            if all(map(is_free, self.folder.glob("shared.db-l*"))):
                return
            process.send_signal(signal.SIGCONT)

    def git(self, *args: str) -> str:
        argv = ["git", "--git-dir", str(self.remote), *args]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout

    def files(self) -> list[str]:
        return self.git("ls-tree", "-r", "--name-only", "coord/s").split()

    def refs(self) -> list[str]:
        return self.git("for-each-ref", "--format=%(refname)", "refs/coord", "refs/heads/coord").split()

    def clone(self, name: str) -> Path:
        where = self.folder / name
        self.place.git("clone", "-q", str(self.remote), str(where))
        for key, value in (("user.name", "Other"), ("user.email", "other@example.invalid")):
            self.place.git("-C", str(where), "config", key, value)
        return where


@pytest.fixture
def hosts(place: Place) -> Iterator[Hosts]:
    found = Hosts(place)
    yield found
    for process in found.started:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.kill()
        process.wait()


@pytest.mark.req("W9", "S2", "S12")
@pytest.mark.timeout(180)
def test_workers_elsewhere_do_the_work_and_the_result_lands_in_both(hosts: Hosts) -> None:
    plan = hosts.place.plan(
        {"x": {}, "y": {}, "z": {"needs": ["x", "y"], "sh": "cat x.txt y.txt > z.txt"}, "bad": {"sh": "exit 3"}}
    )
    workers = {host: hosts.worker(host, "--slots", "2") for host in ("one", "two")}
    assert hosts.ended(hosts.run("boss", plan), "boss") == 3
    assert hosts.git("show", "coord/s:z.txt") == "x\ny\n"
    assert hosts.place.show("z.txt") == "x\ny\n"
    assert hosts.refs() == ["refs/heads/coord/s"]
    for host, worker in workers.items():
        worker.send_signal(signal.SIGTERM)
        assert hosts.ended(worker, host) == 0
    assert not list(hosts.folder.glob("*/workers/*/sessions/s/worktrees/*"))


@pytest.mark.req("W9", "P4")
@pytest.mark.timeout(180)
def test_labels_route_and_a_task_needs_all_of_its_own(hosts: Hosts) -> None:
    where = "echo $COORD_HOST_NAME > $COORD_TASK.txt; readlink -f . >> $COORD_TASK.txt"
    tasks: dict[str, dict[str, Any]] = {
        "plain": {"sh": where},
        "gpu": {"sh": where, "labels": ["gpu"]},
        "both": {"sh": where, "labels": ["gpu", "big"]},
    }
    hosts.worker("small", "--labels", "gpu")
    run = hosts.run("boss", hosts.place.plan(tasks))
    eventually(lambda: hosts.tasks().get("gpu", {}).get("state") == "completed", run)
    eventually(lambda: hosts.tasks()["plain"]["state"] == "completed", run)
    assert hosts.tasks()["both"]["state"] == "pending"
    hosts.worker("large", "--labels", "big,gpu")
    assert hosts.ended(run, "boss") == 0
    assert "/small/" in hosts.git("show", "coord/s:gpu.txt")
    assert "/large/" in hosts.git("show", "coord/s:both.txt")


@pytest.mark.req("W9")
@pytest.mark.timeout(180)
def test_a_host_that_drains_takes_no_more(hosts: Hosts) -> None:
    go = hosts.folder / "go"
    wait = f"until [ -e {go} ]; do sleep 0.05; done; readlink -f . > $COORD_TASK.txt"
    first = hosts.worker("one", "--slots", "1")
    run = hosts.run("boss", hosts.place.plan({"a": {"sh": wait}, "b": {"sh": wait}}))
    eventually(lambda: any(task["state"] == "running" for task in hosts.tasks().values()), run)
    first.send_signal(signal.SIGTERM)
    hosts.worker("two", "--slots", "1")
    eventually(lambda: all(task["state"] == "running" for task in hosts.tasks().values()), run)
    go.touch()
    assert hosts.ended(first, "one") == 0
    assert hosts.ended(run, "boss") == 0
    texts = [hosts.git("show", f"coord/s:{name}.txt") for name in "ab"]
    assert sorted("/one/" in text for text in texts) == [False, True]


@pytest.mark.req("W9", "S9", "M2")
@pytest.mark.timeout(240)
def test_the_work_of_a_dead_or_frozen_worker_goes_to_another_and_the_zombie_changes_nothing(hosts: Hosts) -> None:
    go = hosts.folder / "go"
    wait = f"until [ -e {go} ]; do sleep 0.05; done; readlink -f . > $COORD_TASK.txt"
    first = hosts.worker("one")
    run = hosts.run("boss", hosts.place.plan({"t": {"sh": wait}}))
    eventually(lambda: hosts.tasks().get("t", {}).get("state") == "running", run)
    hosts.freeze(first)
    hosts.worker("two")
    eventually(lambda: [each["agent"] for each in hosts.tasks()["t"]["attempts"]] == ["t.1", "t.2"], run)
    eventually(lambda: hosts.tasks()["t"]["state"] == "running", run)
    first.send_signal(signal.SIGCONT)
    eventually(lambda: "out of reach for too long: stopped t.1" in hosts.said("one"))
    go.touch()
    assert hosts.ended(run, "boss") == 0
    assert "/two/" in hosts.git("show", "coord/s:t.txt")
    assert first.poll() is None
    assert hosts.tasks()["t"]["attempts"][0]["state"] == "failed"


@pytest.mark.req("M12", "S12")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def test_a_standby_takes_over_in_mid_run_and_nothing_lands_twice(hosts: Hosts, how: signal.Signals) -> None:
    go = hosts.folder / "go"
    wait = f"until [ -e {go} ]; do sleep 0.05; done; cat first.txt > second.txt"
    plan = hosts.place.plan({"first": {}, "second": {"needs": ["first"], "sh": wait}})
    hosts.worker("one")
    boss = hosts.run("boss", plan)
    eventually(lambda: hosts.tasks().get("second", {}).get("state") == "running", boss)
    heir = hosts.run("heir", plan, "--standby", cwd=hosts.clone("clone"))
    eventually(lambda: "standing by" in hosts.said("heir"), heir)
    refused = hosts.run("third", plan)
    assert hosts.ended(refused, "third") == 5
    hosts.freeze(boss) if how is signal.SIGSTOP else boss.kill()
    if how is signal.SIGSTOP:
        eventually(lambda: "session s:" in hosts.said("heir"), heir)
    go.touch()
    assert hosts.ended(heir, "heir") == 0
    tip = hosts.git("rev-parse", "coord/s")
    if how is signal.SIGSTOP:
        boss.send_signal(signal.SIGCONT)
        assert hosts.ended(boss, "boss") != 0
    assert hosts.git("rev-parse", "coord/s") == tip
    assert hosts.git("show", "coord/s:second.txt") == "first\n"
    assert hosts.git("log", "--merges", "--format=%s", "coord/s").split("\n").count("Merge second.1: second") == 1
    assert [each["agent"] for each in hosts.tasks()["second"]["attempts"]] == ["second.1"]


FAMILY = f"""
case $COORD_TASK in
t)
    echo mine > own.txt; git add -A; git commit -qm own
    {COORD} agent delegate 'a part' --writes part.txt || exit 11
    {COORD} agent await --all > $SAID || exit 12
    git merge -q -m took "$(grep -o 'git merge [0-9a-f]*' $SAID | cut -d' ' -f3)" || exit 13
    ;;
*) until [ -e $GO ]; do sleep 0.05; done; cat own.txt > part.txt; readlink -f . >> part.txt ;;
esac
"""


@pytest.mark.req("T4", "M12", "W9")
@pytest.mark.timeout(240)
def test_a_parent_sleeps_on_while_its_orchestrator_dies_and_the_next_one_gives_it_its_part(hosts: Hosts) -> None:
    go = hosts.folder / "go"
    script = FAMILY.replace("$SAID", str(hosts.folder / "said")).replace("$GO", str(go))
    plan = hosts.place.plan({"t": {"sh": script, "writes": ["own.txt", "part.txt"]}})
    hosts.worker("one", "--slots", "1")
    boss = hosts.run("boss", plan)
    eventually(lambda: hosts.tasks().get("t-1-1", {}).get("state") == "running", boss)
    boss.kill()
    hosts.ended(boss, "boss")
    go.touch()
    eventually(lambda: hosts.tasks()["t-1-1"]["state"] == "completed")
    heir = hosts.run("heir", plan)
    assert hosts.ended(heir, "heir") == 0
    tasks = hosts.tasks()
    assert {name: len(task["attempts"]) for name, task in tasks.items()} == {"t": 1, "t-1-1": 1}
    assert all(task["landed"] for task in tasks.values())
    assert hosts.git("show", "coord/s:part.txt").startswith("mine\n")
    assert hosts.git("log", "--format=%s", "coord/s", "--", "own.txt").split() == ["own"]
