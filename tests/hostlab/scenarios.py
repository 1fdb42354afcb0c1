"""What may happen to a session on several hosts; each scenario is a whole run, and says what was not as it must be."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from coordstore import open_store
from coordstore.errors import Conflict
from coordstore_orchestrator.worker.steady import SteadySession
from coordstore_orchestrator.worker.worker import LEASE_TTL
from tests.hostlab.lab import eventually

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.hostlab.lab import Lab, Process

__all__ = ["SCENARIOS", "Scenario", "fill"]

Scenario: TypeAlias = "Callable[[Lab], list[str]]"
TASKS: Final = 6
CLAIMANTS: Final = 32
GRACE: Final = 2.0
"""Seconds after a dead worker's lease in which its work is assigned anew, while the leader of etcd lives."""


def fill(folder: Path) -> None:
    """Make a small repository."""
    (folder / "README").write_text("hello\n")


def plan(lab: Lab, seconds: float = 2.0) -> Path:
    """Write a plan of some tasks, the last of which needs the first two."""
    rows: list[dict[str, Any]] = []
    for number in range(TASKS):
        name = f"t{number}"
        shell = f"sleep {seconds}; echo $COORD_AGENT > {name}.txt"
        needs = ["t0", "t1"] if number == TASKS - 1 else []
        agent = {"command": ["sh", "-c", shell]}
        rows.append({"id": name, "prompt": "write", "writes": [f"{name}.txt"], "needs": needs, "agent": agent})
    path = lab.folder / f"{lab.name}.json"
    path.write_text(json.dumps({"goal": "hosts", "tasks": rows}))
    return path


def judged(lab: Lab, orchestrator: Process) -> list[str]:
    """Return what is wrong with a run that must have landed all, each once."""
    status = orchestrator.ended()
    if status:
        return [f"coord run ended with status {status}: {orchestrator.said()[-600:]}"]
    wrong = []
    expected = sorted(f"t{number}" for number in range(TASKS))
    if (merges := lab.merges()) != expected:
        wrong.append(f"merged: {merges}")
    for name, task in lab.tasks().items():
        done = [each["agent"] for each in task["attempts"] if each["state"] == "completed"]
        text = lab.git("show", f"coord/{lab.name}:{name}.txt").strip()
        if [text] != done or not task["landed"]:
            wrong.append(f"{name}: completed {done}, landed {text}")
    left = lab.git("for-each-ref", "--format=%(refname)", f"refs/coord/{lab.name}/base", f"refs/coord/{lab.name}/epoch")
    return [*wrong, *([f"left behind: {left.split()}"] if left.strip() else [])]


def under_way(lab: Lab) -> tuple[Process, Process, Process, Path]:
    """Start two workers and an orchestrator; return them once h2 works."""
    path = plan(lab)
    two, three = (lab.worker(host, "--slots", "2") for host in ("h2", "h3"))
    leader = lab.orchestrator("h1", path)
    eventually(lambda: lab.running("h2"), "h2 works")
    return leader, two, three, path


def happy(lab: Lab) -> list[str]:
    """Nothing happens."""
    return judged(lab, under_way(lab)[0])


def worker_killed(lab: Lab) -> list[str]:
    """A worker dies with all it runs, which is assigned anew within two seconds after its lease."""
    leader, two, *_ = under_way(lab)
    two.kill()
    died = time.monotonic()
    lost = [agent.partition(".")[0] for agent in lab.running("h2")]
    eventually(lambda: assigned_anew(lab, lost), f"{lost} are assigned anew")
    took = time.monotonic() - died
    late = [f"{lost} were assigned anew after {took:.1f} s"] if took > LEASE_TTL + GRACE else []
    return [*late, *judged(lab, leader)]


def assigned_anew(lab: Lab, lost: list[str]) -> bool:
    """Tell whether all of some tasks have had another attempt."""
    tasks = lab.tasks()
    return all(len(tasks[name]["attempts"]) > 1 for name in lost)


def orchestrator_killed(lab: Lab) -> list[str]:
    """The orchestrator dies; another one on another host stands by."""
    leader, _, _, path = under_way(lab)
    heir = lab.orchestrator("h3", path, "--standby")
    eventually(lambda: "standing by" in heir.said(), "h3 stands by")
    leader.kill()
    return judged(lab, heir)


def store_leader_killed(lab: Lab) -> list[str]:
    """The member of etcd that leads dies, and comes back later."""
    leader, *_ = under_way(lab)
    member = lab.cluster.leader()
    member.kill()
    lab.cluster.leader(after=member)
    wrong = judged(lab, leader)
    member.start()
    return wrong


def cut_and_healed(lab: Lab) -> list[str]:
    """A worker's host is cut off until its work is done elsewhere, and comes back."""
    leader, two, *_ = under_way(lab)
    stopped = lab.running("h2")
    lab.cut("h2")
    eventually(lambda: any(len(task["attempts"]) > 1 for task in lab.tasks().values()), f"{stopped} go elsewhere")
    lab.heal()
    wrong = judged(lab, leader)
    return wrong if two.outer.poll() is None else [*wrong, f"the worker that was cut off ended: {two.said()[-300:]}"]


def tokens_expire(lab: Lab) -> list[str]:
    """Logins at the store are good for a second only, and everybody has to log in again and again."""
    with lab.logins():
        return judged(lab, under_way(lab)[0])


def leader_paused(lab: Lab) -> list[str]:
    """The orchestrator stands still, another one lands the result; then it wakes up and tries to land, too."""
    leader, _, _, path = under_way(lab)
    heir = lab.orchestrator("h3", path, "--standby")
    eventually(lambda: "standing by" in heir.said(), "h3 stands by")
    leader.send(signal.SIGSTOP)
    wrong = judged(lab, heir)
    tip = lab.git("rev-parse", f"coord/{lab.name}")
    leader.send(signal.SIGCONT)
    if not leader.ended():
        wrong.append("the former leader ended as if it had landed")
    if lab.git("rev-parse", f"coord/{lab.name}") != tip:
        wrong.append("the former leader moved the result")
    return wrong


def claimed_by_many(lab: Lab) -> list[str]:
    """Many workers claim one attempt at the same time."""
    return asyncio.run(_claim(lab.store, lab.name))


async def _claim(url: str, name: str) -> list[str]:
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(open_store(url)) for _ in range(CLAIMANTS)]
        sessions = [SteadySession(store, name) for store in stores]
        await sessions[0].create({"digest": name}, {"t": {}})
        await sessions[0].assign((await sessions[0].view()).tasks["t"], "base")
        leases = [await stack.enter_async_context(await store.grant(10)) for store in stores]
        random.shuffle(sessions)
        tries = (
            session.claim("t.1", (), {"host": "here", "run": str(number)}, lease)
            for number, (session, lease) in enumerate(zip(sessions, _of(sessions, stores, leases), strict=True))
        )
        found = await asyncio.gather(*tries, return_exceptions=True)
        won = [each for each in found if not isinstance(each, BaseException)]
        odd = [repr(each) for each in found if isinstance(each, BaseException) and not isinstance(each, Conflict)]
        return odd if len(won) == 1 else [f"{len(won)} won", *odd]


def _of(sessions: list[SteadySession], stores: list[Any], leases: list[Any]) -> list[Any]:
    """Return the lease of each session's own store."""
    return [leases[stores.index(session.store)] for session in sessions]


SCENARIOS: Final[dict[str, Scenario]] = {
    "happy": happy,
    "worker-killed": worker_killed,
    "orchestrator-killed": orchestrator_killed,
    "etcd-leader-killed": store_leader_killed,
    "cut-and-healed": cut_and_healed,
    "tokens-expire": tokens_expire,
    "claimed-by-many": claimed_by_many,
    "leader-paused": leader_paused,
}
