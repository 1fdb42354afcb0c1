"""The worker limit counts over the whole store, and is enforced before an attempt is spawned."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.recipes import Semaphore
from coordstore.session import State
from coordstore.session.session import Session
from coordstore.testing import Clock, Memory, MemoryStore
from coordstore_orchestrator.worker.permits import WORKERS, Limit
from coordstore_orchestrator.worker.worker import Worker

if TYPE_CHECKING:
    from coordstore.session.claim import Claim

pytestmark = pytest.mark.req("R4", "R2")


class Runner:
    """Runs attempts until it is told that they are over, and counts how many at once."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.most = 0
        self.over = asyncio.Event()

    async def run(self, claim: Claim, *_: Any) -> None:
        self.running.append(claim.agent)
        self.most = max(self.most, len(self.running))
        await self.over.wait()
        self.running.remove(claim.agent)
        await claim.finish(State.COMPLETED, {})


class Hall:
    """Several workers, each of its own session, on one store."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.memory = Memory(self.clock)
        self.runner = Runner()
        self.serving: list[asyncio.Task[None]] = []

    async def start(self, name: str, tasks: int, limit: Limit) -> None:
        session = Session(MemoryStore(self.memory), name)
        await session.create({"digest": "d"}, {f"t{n}": {} for n in range(tasks)})
        for task in (await session.view()).ordered():
            await session.assign(task, "c0")
        worker = Worker(session, self.runner, 8, {"pid": 1, "run": f"run-{name}"}, limit=limit)
        self.serving.append(asyncio.create_task(worker.run()))

    async def settle(self) -> None:
        for _ in range(40):
            await self.clock.advance(0.1)

    async def end(self) -> None:
        for task in self.serving:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*self.serving)


async def left(hall: Hall, prefix: str) -> list[str]:
    return [entry.key for entry in (await MemoryStore(hall.memory).list(prefix)).entries]


@pytest.mark.security(17)
async def test_twenty_spawns_of_three_workers_keep_to_a_limit_of_eight() -> None:
    hall = Hall()
    for name, tasks in (("a", 7), ("b", 7), ("c", 6)):
        await hall.start(name, tasks, Limit())
    await hall.settle()
    assert len(hall.runner.running) == 8
    assert len(await left(hall, "@pool")) > 0
    hall.runner.over.set()
    await hall.settle()
    assert hall.runner.most == 8
    assert hall.runner.running == []
    store = MemoryStore(hall.memory)
    views = [await Session(store, name).view() for name in "abc"]
    assert {str(attempt.state) for view in views for task in view.ordered() for attempt in task.attempts} == {
        "completed"
    }
    assert await left(hall, f"@semaphore/{WORKERS}") == [], "who has nothing to run stands in no line"
    await hall.end()
    assert await left(hall, "@pool") == []


async def test_the_limit_can_change_while_it_runs_and_be_overridden_for_one_process() -> None:
    hall = Hall()
    store = MemoryStore(hall.memory)
    await Semaphore(store, WORKERS).set_limit(2)
    await hall.start("a", 5, Limit())
    await hall.settle()
    assert len(hall.runner.running) == 2
    await Semaphore(store, WORKERS).set_limit(4)
    await hall.settle()
    assert len(hall.runner.running) == 4
    await hall.end()
    assert hall.runner.most == 4
    other = Hall()
    await Semaphore(MemoryStore(other.memory), WORKERS).set_limit(8)
    await other.start("a", 5, Limit(override=1))
    await other.settle()
    assert len(other.runner.running) == 1
    await other.end()


async def test_a_worker_that_is_ended_gives_back_what_it_held() -> None:
    hall = Hall()
    await hall.start("a", 3, Limit(default=2))
    await hall.settle()
    assert len(hall.runner.running) == 2
    await hall.end()
    assert await left(hall, "@semaphore") == []
    assert await left(hall, "@pool") == []
