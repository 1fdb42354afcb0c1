"""Whole sessions on virtual time: the real orchestrator and workers, scripted agents and merges, and faults by a seed.

Everything that happens follows from the seed. Several processes share one memory store through handles of their own,
which can be slow, deaf, frozen, killed, cut off for longer than a lease lives, or leave it unknown whether a write was
applied: one sent into a partition may land when that is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import (
    Conflict,
    Fenced,
    InvalidArgument,
    InvalidTransition,
    LeaseLost,
    OutcomeUnknown,
    Unavailable,
)
from coordstore.model import Check, Put
from coordstore.session import SessionView, State, events
from coordstore.session.session import Session
from coordstore.testing import Clock
from coordstore.testing.memory import Memory
from coordstore_orchestrator.monitor.decide import settled
from coordstore_orchestrator.monitor.leadership import LedByOther, lead
from coordstore_orchestrator.monitor.orchestrator import Orchestrator
from coordstore_orchestrator.worker.steady import SteadySession
from coordstore_orchestrator.worker.worker import LEASE_TTL, Worker
from tests.orchestrator.audit import Audit
from tests.orchestrator.handle import Handle
from tests.orchestrator.scripted import Scripted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore_orchestrator.monitor.decide import Integrate
    from coordstore_orchestrator.monitor.leadership import Leadership

PERSON: Final = 999
"""The pid of whoever cancels tasks."""
STEPS: Final = 400
"""Turns after which a session that has not settled counts as hung; most of them without faults."""
REVISIONS: Final = 2000
"""Revisions after which it runs in circles."""
EXPECTED = (LedByOther, Fenced, LeaseLost, OutcomeUnknown, Unavailable)
"""How a process may end when there are faults."""


BEHAVIOURS: Final = [
    (8, 1, 1, 1, 1, 1, 0, 0, 0, 0),
    (2, 2, 2, 2, 2, 2, 2, 2, 2, 2),
    (1, 0, 0, 0, 0, 0, 0, 0, 0, 0),
    (3, 5, 0, 0, 0, 0, 0, 0, 0, 0),
    (6, 0, 0, 0, 0, 2, 2, 1, 2, 2),
]
"""How likely each kind of agent is, for one world after another."""


MISFORTUNES: Final = ("crash", "freeze", "thaw", "interrupt", "cancel", "rival", "helper", "drop", "cut")
HOW_OFTEN: Final = (2, 1, 1, 1, 2, 1, 1, 1, 2)


class World:
    """One simulated session.

    Args:
        seed: Of everything.
        faults: Whether processes and store misbehave.
    """

    def __init__(self, seed: int, faults: bool) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.clock = Clock()
        self.memory = Memory(self.clock)
        self.authors: dict[int, int] = {}
        self.slots: dict[int, int] = {PERSON: 0}
        self.refused: list[str] = []
        self.kinds: dict[str, str] = {}
        self.seen: Counter[str] = Counter()
        self.dead: set[int] = set()
        self.processes: list[Process] = []
        self.surprises: list[BaseException] = []
        self.plan = random_plan(self.random)
        self.behaviour = self.random.choice(BEHAVIOURS)

    async def delay(self) -> None:
        """Let a request or a notification take its time."""
        if self.random.random() < 0.3:
            await self.clock.sleep(self.random.choice([0.01, 0.1, 2.0] if self.faults else [0.01, 0.1]))

    def fault(self) -> str | None:
        if not self.faults or self.random.random() > 0.02:
            return None
        return self.random.choice(["unavailable", "unknown", "lost"])

    def is_dead(self, holder: Mapping[str, Any]) -> bool:
        return holder.get("pid") in self.dead

    def start(self, *, leads: bool) -> None:
        pid = len(self.slots)
        self.slots[pid] = self.random.randint(1, 3)
        self.processes.append(Process(self, pid, leads=leads))

    def view(self) -> SessionView:
        cut = self.memory.state.list("s1", None, None, keys_only=False)
        return SessionView.of("s1", cut.entries, cut.revision)

    def settled(self) -> bool:
        view = self.view()
        return view.ready and all(settled(view, task) for task in view.tasks.values())

    def audit(self) -> Audit:
        """Judge the whole history."""
        judge = Audit(self.plan, self.slots, self.authors, self.kinds)
        for commit in self.memory.state.history:
            judge.commit(commit)
        return judge


def random_plan(rng: random.Random) -> dict[str, dict[str, Any]]:
    """Return a plan of a few tasks without a cycle."""
    plan: dict[str, dict[str, Any]] = {}
    for number in range(rng.randint(1, 7)):
        spec: dict[str, Any] = {"needs": rng.sample(sorted(plan), rng.randint(0, min(2, len(plan)))), "writes": ["f"]}
        if rng.random() < 0.5:
            spec["limits"] = {"attempts": rng.randint(1, 3)}
        spec["priority"] = rng.randint(-1, 1)
        plan[f"t{number}"] = spec
    return plan


class Process:
    """An orchestrator with a worker of its own, or a worker alone."""

    def __init__(self, world: World, pid: int, *, leads: bool) -> None:
        self.world = world
        self.pid = pid
        self.leads = leads
        self.holder = {"host": "here", "pid": pid, "run": f"r{pid}"}
        self.handle = Handle(world, pid)
        self.session = Session(self.handle, "s1")
        mine = (SteadySession if world.random.random() < 0.75 else Session)(self.handle, "s1")
        self.worker = Worker(mine, Scripted(self), world.slots[pid], self.holder)
        self.orchestrator: Orchestrator | None = None
        self.interrupted = False
        self.active = 0
        self.task = asyncio.create_task(self._lead() if leads else self.worker.run(), name=f"process {pid}")

    async def _lead(self) -> None:
        await self.session.create({"digest": "d"}, self.world.plan)
        async with lead(self.session, self.holder, self.world.is_dead) as leadership:
            for task in (await self.session.view()).tasks.values():
                if task.latest and self.world.is_dead(task.latest.json("claim")):
                    with contextlib.suppress(Conflict):
                        await self.session.drop_claim(task.latest, fence=leadership.fence)
            await self._drive(leadership)

    async def _drive(self, leadership: Leadership) -> None:
        gather = self.world.random.choice([0.0, 0.0, 4.0])
        self.orchestrator = Orchestrator(self.session, leadership, "c0", Merges(self, leadership), gather=gather)
        if self.interrupted:
            self.orchestrator.drain()
        serving = asyncio.create_task(self.worker.run())
        driving = asyncio.create_task(self.orchestrator.run())
        try:
            await asyncio.wait({serving, driving}, return_when=asyncio.FIRST_COMPLETED)
            await (driving if driving.done() else serving)
        finally:
            serving.cancel()
            driving.cancel()
            await asyncio.gather(serving, driving, return_exceptions=True)

    def interrupt(self) -> None:
        self.interrupted = True
        self.worker.interrupt()
        if self.orchestrator is not None:
            self.orchestrator.drain()

    def crash(self) -> None:
        self.world.dead.add(self.pid)
        self.handle.kill()
        self.task.cancel()


class Merges:
    """Merges that take a while and sometimes refuse; the tip is the list of what is in it."""

    def __init__(self, process: Process, leadership: Leadership) -> None:
        self.world = process.world
        self.session = process.session
        self.fence: Check | None = leadership.fence

    async def integrate(self, view: SessionView, action: Integrate) -> int:
        keys = self.session.keys
        attempt = view.attempt(action.agent)
        assert attempt is not None
        tip = view.entries.get(keys.tip)
        onto = tip.value.decode() if tip else "c0"
        status = attempt.entries["status"].revision
        await self.world.clock.sleep(self.world.random.choice([0.0, 0.1, 3.0, 12.0 if self.world.faults else 0.5]))
        merged = self.world.random.random() < 0.85
        record = {"agent": action.agent, "merged": merged, **({} if merged else {"refused": "conflicts"})}
        writes = [Put(keys.merged(action.task), json.dumps(record).encode())]
        if merged:
            writes.append(Put(keys.tip, f"{onto}+{action.task}".encode()))
        told = self.session.event(action.agent, events.Integrated(merged=merged))
        checks = self.checks(action, tip.revision if tip else 0, status)
        return await self.session.store.transact(writes, checks, [told], self.fence)

    def checks(self, action: Integrate, tip: int, status: int) -> list[Check]:
        keys = self.session.keys
        return [
            Check(keys.merged(action.task), revision=0),
            Check(keys.tip, revision=tip),
            Check(keys.agent(action.agent, "status"), revision=status),
        ]


async def simulate(seed: int, *, faults: bool = True) -> World:
    """Run one session to its end and judge it; a fault of the code under test is an AssertionError with the seed."""
    world = World(seed, faults)
    try:
        await drive(world)
        await resume(world)
        world.audit().finish()
        assert not world.surprises, world.surprises
        alone = not faults and len(world.slots) == 3  # a person, a leader, and the one that resumes
        assert not (alone and world.refused), f"writes on an old view, refused at {world.refused}"
    except AssertionError as error:
        error.add_note(f"seed {seed}, faults={faults}: python -m tests.orchestrator.simulation {seed}")
        raise
    finally:
        await end(world)
    return world


async def drive(world: World) -> None:
    """Let time pass, and things go wrong, until the session is settled."""
    for leads in [True, *(False for _ in range(world.random.randint(0, 2)))]:
        world.start(leads=leads)
    faulty = world.random.randint(5, 40) if world.faults else 0
    for step in range(STEPS):
        await world.clock.advance(world.random.choice([0.05, 0.3, 1.0, 3.0]))
        if step == faulty:
            world.faults = False
            for process in world.processes:
                process.handle.heal()
        if step < faulty and world.random.random() < 0.3:
            await misfortune(world)
        reap(world)
        if world.settled() and step >= faulty:
            return
        if not any(process.leads and process.handle.well for process in world.processes):
            world.start(leads=True)
        if world.memory.state.revision > REVISIONS:
            break
    world.audit()
    states = {task.id: str(task.state) for task in world.view().ordered()}
    raise AssertionError(f"not settled after {STEPS} steps: {states}")  # noqa: EM102  (a verdict)


async def misfortune(world: World) -> None:
    """Let one thing go wrong."""
    process = world.random.choice(world.processes) if world.processes else None
    kinds = [
        "crash",
        "crash",
        "freeze",
        "thaw",
        "interrupt",
        "cancel",
        "cancel",
        "rival",
        "helper",
        "drop",
        "cut",
        "cut",
    ]
    kind = world.random.choice(kinds)
    if kind in ("rival", "helper"):
        world.start(leads=kind == "rival")
    elif kind in ("cancel", "drop"):
        await meddle(world, kind)
    elif process is not None and kind == "freeze":
        process.handle.open_gate.clear()
    elif process is not None and kind == "thaw":
        process.handle.open_gate.set()
    elif process is not None and kind == "cut":
        seconds = world.random.choice([1.0, LEASE_TTL / 2, 2.0 * LEASE_TTL])
        world.seen["cut off for longer than a lease" if seconds > LEASE_TTL else "cut off"] += 1
        process.handle.cut(seconds)
    elif process is not None:
        process.crash() if kind == "crash" else process.interrupt()


async def meddle(world: World, kind: str) -> None:
    """Cancel a task as a person does, or take a claim away."""
    session = Session(Handle(world, PERSON), "s1")
    task = world.view().tasks.get(world.random.choice(sorted(world.plan)))
    if task is None or not world.view().ready:
        return
    reason = {"code": "cancelled", "reason": "a person's"}
    with contextlib.suppress(Conflict, InvalidArgument, InvalidTransition, Unavailable, OutcomeUnknown):
        latest = task.latest
        if kind == "drop" and latest is not None:
            await within(world, session.drop_claim(latest))
        elif latest is None:
            await within(world, session.cancel_unstarted(task, reason["reason"]))
        elif latest.state is State.PENDING or latest.lost:
            await within(world, session.end(latest, State.CANCELLED, reason))
        else:
            await within(world, session.request_cancel(latest.agent, reason["reason"]))


async def within(world: World, move: Any) -> None:
    """Wait for a move while time passes."""
    moving = asyncio.ensure_future(move)
    while not moving.done():
        await world.clock.advance(0.1)
    await moving


def reap(world: World) -> None:
    """Take note of processes that have ended."""
    for process in [process for process in world.processes if process.task.done()]:
        world.processes.remove(process)
        world.dead.add(process.pid)  # its last words may not have been heard, its end is
        error = None if process.task.cancelled() else process.task.exception()
        if error is not None and not isinstance(error, EXPECTED):
            world.surprises.append(error)


async def resume(world: World) -> None:
    """Start the settled session once more: nothing is left to do."""
    before = world.memory.state.revision
    await end(world)
    world.start(leads=True)
    leader = world.processes[-1]
    for _ in range(30):
        if not leader.task.done():
            await world.clock.advance(1)
    assert leader.task.done(), "a settled session does not end"
    leader.task.result()
    later = [commit for commit in world.memory.state.history if commit.revision > before]
    touched = {change.key for commit in later for change in commit.changes if not change.key.startswith("s1/leader/")}
    changed = sorted(key for key in touched if not key.endswith("/claim"))
    assert not changed, f"a settled session was changed: {changed}"


async def end(world: World) -> None:
    """End all processes and let what is under way land."""
    for process in world.processes:
        process.handle.heal()
        process.task.cancel()
    await world.clock.advance(5)
    for process in world.processes:
        await asyncio.gather(process.task, *process.handle.under_way, return_exceptions=True)
    reap(world)


def trace(world: World) -> list[tuple[int, tuple[str, ...], tuple[str, ...]]]:
    """Return what a run did, without times and ids that differ from run to run."""
    return [
        (
            commit.revision,
            tuple(_known(change.key) for change in commit.changes),
            tuple(r.stream for r in commit.records),
        )
        for commit in world.memory.state.history
    ]


def _known(key: str) -> str:
    """Return a key without the part that a candidate draws by lot."""
    return key.rpartition("/")[0] if key.startswith("s1/leader/line/") else key


if __name__ == "__main__":
    import sys

    asyncio.run(simulate(int(sys.argv[1]), faults="--calm" not in sys.argv))
