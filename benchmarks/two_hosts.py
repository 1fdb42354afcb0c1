"""What a task costs on etcd with workers on two other hosts, against the same plan run by one command on SQLite."""

from __future__ import annotations

import os
import shutil
import time
from typing import TYPE_CHECKING, Final

from benchmarks.repository import coord, environment, plan_of
from benchmarks.table import Row, median, timed
from tests.etcdlab.finding import program
from tests.hostlab.lab import Lab

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["measure"]

TASKS: Final = 20
SLOTS: Final = 2
"""On each of two hosts; the local run has as many in all."""
ROUNDS: Final = 5
LIMIT: Final = 2.0
AGENT: Final = "echo work {n} > out{n}.txt"
CLAIM: Final = "overhead of a task: etcd and workers on two other hosts"


def measure(scale: float = 1.0) -> list[Row]:
    """Run both in turn: three network namespaces with an etcd and a clone each, and one of the clones alone."""
    if os.geteuid() or program(to_be_killed=True) is None or not all(map(shutil.which, ("ip", "unshare"))):
        return [Row(CLAIM, "", "needs root, etcd, ip and unshare", None)]
    rounds, tasks = max(round(ROUNDS * scale), 1), max(round(TASKS * scale), 2)
    hosts, local = [], []
    with Lab(_fill) as lab:
        plan = plan_of(lab.folder, tasks, AGENT)
        env = environment(lab.folder)
        for host in ("h2", "h3"):
            lab.worker(host, "--slots", str(SLOTS))
        for turn in range(rounds + 1):
            lab.name = f"s{turn}"
            hosts.append(_spread(lab, plan) / tasks)
            argv = [coord(), "run", str(plan), "--session", f"l{turn}", "--slots", str(2 * SLOTS), "--quiet"]
            local.append(timed(argv, lab.clone("h1"), env) / tasks)
    ours, floor = median(hosts[1:]), median(local[1:])
    figure = (
        f"{ours / floor:.2f}× ({ours * 1e3:.0f} ms against {floor * 1e3:.0f} ms, {tasks} tasks, median of {rounds})"
    )
    return [Row(CLAIM, f"≤ {LIMIT:g}× one host with SQLite", figure, ours <= LIMIT * floor)]


def _fill(folder: Path) -> None:
    (folder / "README").write_text("hello\n")


def _spread(lab: Lab, plan: Path) -> float:
    """Run the plan on the hosts; return the seconds from start to landed."""
    began = time.perf_counter()
    orchestrator = lab.orchestrator("h1", plan, "--quiet")
    status = orchestrator.ended()
    took = time.perf_counter() - began
    if status:
        message = f"coord run ended with {status}: {orchestrator.said()[-2000:]}"
        raise RuntimeError(message)
    return took
