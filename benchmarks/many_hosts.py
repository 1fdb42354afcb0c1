"""What a task costs the orchestrator in a session of 100 hosts and 1,000 agents, and in one ten times that.

The orchestrator is the real one, with its view, watcher and decisions, on a store in memory and on virtual time. The
hosts are simulated: together they watch the queue once, and claim, report and end attempts by the real moves. What is
counted is the processor time of the orchestrator's own tasks of the event loop, its store's work for it included, and
every request that reaches the store.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Coroutine
from contextlib import AsyncExitStack, aclosing
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from benchmarks.table import Row
from coordstore.session import State, events
from coordstore.session.session import Session
from coordstore.session.values import as_value
from coordstore.testing import MemoryStore
from coordstore.testing.memory import Memory
from coordstore_orchestrator.monitor.leadership import lead
from coordstore_orchestrator.monitor.orchestrator import Orchestrator
from tests.orchestrator.virtual import LoopClock, run_virtually

if TYPE_CHECKING:
    from coordstore.model import Committed, Entry, Transaction
    from coordstore.session import SessionView
    from coordstore.store import Lease
    from coordstore_orchestrator.monitor.decide import Integrate

__all__ = ["measure"]

HOSTS: Final = 100
SLOTS: Final = 10
TASKS: Final = 2
"""Tasks for each agent; a third of them needs two others."""
TIMES: Final = 10
GOAL: Final = 1.5
WORK: Final = (20.0, 120.0)
"""Seconds that an agent takes, on the store's clock."""
STEPS: Final = 3
"""Reports of one agent."""


def measure(scale: float = 1.0) -> list[Row]:
    """Run a session of each size."""
    hosts = max(3, round(HOSTS * scale))
    few, many = (run_virtually(_run(hosts * times)) for times in (1, TIMES))
    what = f"{many.agents:,} agents on {many.hosts:,} hosts against {few.agents:,} on {few.hosts:,}"
    return [
        _row(f"orchestrator's time a task: {what}", few.seconds * 1e6, many.seconds * 1e6, "µs"),
        _row(f"store operations a task: {what}", few.operations, many.operations, "operations"),
    ]


def _row(claim: str, few: float, many: float, unit: str) -> Row:
    figure = f"{many / few:.2f} ({many:.0f} {unit})"
    return Row(claim, f"at most {GOAL:g} times", figure, many <= GOAL * few)


@dataclass(frozen=True)
class _Seen:
    """What a session of one size cost."""

    hosts: int
    agents: int
    seconds: float
    """Of the orchestrator, for each task."""
    operations: float
    """On the store, for each task."""


async def _run(hosts: int) -> _Seen:
    """Run one session to its end."""
    meter, counts = _Meter(), Counter[str]()
    asyncio.get_running_loop().set_task_factory(meter.task)
    memory = Memory(LoopClock())
    store = _Counted(memory, counts)
    session, plan = Session(store, "s1"), _plan(hosts * SLOTS * TASKS)
    await session.create({"digest": "d"}, plan)
    crowd = _Crowd(Session(_Counted(memory, counts), "s1"), hosts)
    working = asyncio.ensure_future(crowd.run())
    counts.clear()
    view = await asyncio.create_task(meter.metered(_lead(session)))
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
    assert all(view.merged(task).get("merged") for task in plan), "else nothing was measured"
    return _Seen(hosts, crowd.most, meter.seconds / len(plan), counts.total() / len(plan))


def _plan(count: int) -> dict[str, dict[str, Any]]:
    dice = random.Random(count)
    plan: dict[str, dict[str, Any]] = {}
    for number in range(count):
        needs = [f"t{dice.randrange(number)}" for _ in range(2)] if number % 3 == 2 else []  # noqa: PLR2004
        plan[f"t{number}"] = {"prompt": "p", "writes": [f"src/{number}"], "needs": sorted({*needs})}
    return plan


async def _lead(session: Session) -> SessionView:
    async with lead(session, {"host": "h", "pid": 1}, lambda _: False) as leadership:
        return await Orchestrator(session, leadership, "c0", _Merges(session)).run()


class _Merges:
    """Records that work was merged; what git takes is another benchmark's matter."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def integrate(self, _view: SessionView, action: Integrate) -> int:
        record = {"agent": action.agent, "merged": True}
        return await self._session.store.put(self._session.keys.merged(action.task), as_value(record), expect=0)


class _Crowd:
    """All hosts: each with slots of its own and a lease, and one watch of the queue for all of them."""

    def __init__(self, session: Session, hosts: int) -> None:
        self.most = 0
        self._session = session
        self._dice = random.Random(hosts)
        self._free = deque(range(hosts * SLOTS))
        self._hosts = hosts
        self._queue: deque[str] = deque()
        self._leases: list[Lease] = []
        self._running: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until cancelled."""
        keys = self._session.keys
        async with AsyncExitStack() as held, aclosing(self._session.store.watch(keys.queue)) as batches:
            for _ in range(self._hosts):
                self._leases.append(await held.enter_async_context(await self._session.store.grant(60)))
            async for batch in batches:
                self._queue.extend(change.key.rpartition("/")[2] for change in batch.changes if change.entry)
                self._start()

    def _start(self) -> None:
        while self._queue and self._free:
            running = asyncio.ensure_future(self._work(self._queue.popleft(), self._free.popleft()))
            self._running.add(running)
            self.most = max(self.most, len(self._running))
            running.add_done_callback(self._running.discard)

    async def _work(self, agent: str, slot: int) -> None:
        host = slot % self._hosts
        claim = await self._session.claim(agent, (), {"host": f"h{host}", "pid": slot}, self._leases[host])
        await claim.report(events.Watching(profile="p", thresholds={}), pid=slot, branch=agent)
        pause = self._dice.uniform(*WORK) / (STEPS + 1)
        for step in range(1, STEPS + 1):
            await asyncio.sleep(pause)
            told = events.ToolCall(name="edit", digest=str(step)), events.FilesChanged(paths=("f",), count=1)
            await claim.report(events.Step(step=step), *told, step=step)
        await asyncio.sleep(pause)
        await claim.finish(State.COMPLETED, {"code": "completed", "commit": agent})
        self._free.append(slot)
        self._start()


class _Counted(MemoryStore):
    """Counts requests."""

    def __init__(self, memory: Memory, counts: Counter[str]) -> None:
        super().__init__(memory)
        self._counts = counts

    async def do_get(self, key: str) -> Entry | None:
        self._counts["get"] += 1
        return await super().do_get(key)

    async def do_transact(self, txn: Transaction) -> Committed:
        self._counts["transact"] += 1
        return await super().do_transact(txn)

    async def lease_renew(self, lease: int) -> None:
        self._counts["renew"] += 1
        await super().lease_renew(lease)


# --- who uses the processor ---------------------------------------------------------------------------------

_COUNTS: ContextVar[bool] = ContextVar("counts", default=False)


class _Meter:
    """Adds up the processor time of some tasks of the loop, and of all that they start."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def task(self, loop: asyncio.AbstractEventLoop, work: Any, **more: Any) -> asyncio.Task[Any]:  # noqa: ANN401  (of anything)
        """Make a task as the loop does."""
        return asyncio.Task(_Timed(self, work) if _COUNTS.get() else work, loop=loop, **more)

    async def metered(self, work: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401  (of anything)
        """Do work that counts."""
        _COUNTS.set(True)
        return await asyncio.create_task(work)


class _Timed(Coroutine[Any, Any, Any]):
    """A coroutine whose time is added up."""

    def __init__(self, meter: _Meter, work: Coroutine[Any, Any, Any]) -> None:
        self._meter = meter
        self._work = work

    def send(self, value: Any) -> Any:  # noqa: ANN401  (of anything)
        began = time.thread_time()
        try:
            return self._work.send(value)
        finally:
            self._meter.seconds += time.thread_time() - began

    def throw(self, *raised: Any) -> Any:  # noqa: ANN401  (of anything)
        return self._work.throw(*raised)

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> Any:  # noqa: ANN401  (of anything)
        return self._work.__await__()
