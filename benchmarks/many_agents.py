"""Fills a store with a session of many agents, as a long run leaves it: run as a program, with a URL and a number."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

from coordstore import Append, Put, open_store
from coordstore.session import SessionKeys, agent_name, events
from coordstore.session.values import as_value

if TYPE_CHECKING:
    from coordstore import CoordStore

__all__ = ["fill"]

AT_ONCE = 6
"""Agents that are written in one transaction."""


async def fill(url: str, agents: int, session: str = "many") -> None:
    """Write so many tasks with one attempt each, most of them completed, and three events of each."""
    keys = SessionKeys(session)
    tasks = [f"t{number:04d}" for number in range(agents)]
    async with open_store(url, durability="process") as store:
        meta = {"schema": 1, "goal": "Many agents", "ready": True, "order": tasks, "created": "2030-01-31T12:00:00Z"}
        await store.put(keys.meta, as_value(meta))
        for start in range(0, agents, AT_ONCE):
            await _write(store, keys, tasks[start : start + AT_ONCE])


async def _write(store: CoordStore, keys: SessionKeys, tasks: list[str]) -> None:
    writes, appends = [], []
    for task in tasks:
        agent = agent_name(task, 1)
        spec = {"id": task, "name": f"Task {task}", "prompt": "do it", "writes": [f"{task}.txt"], "needs": []}
        status = "failed" if task.endswith("7") else "completed"
        values = {"status": status, "step": "12", "pid": "4711", "host": "bench", "branch": agent}
        values |= {"started": "2030-01-31T12:00:00Z", "ended": "2030-01-31T12:05:00Z"}
        writes.append(Put(keys.task(task), as_value(spec)))
        writes += [Put(keys.agent(agent, name), text.encode()) for name, text in values.items()]
        told = (events.Step(step=1), events.ToolCall(name="edit", digest="d"), events.StateChanged(old="a", new="b"))
        appends.append([Append(keys.stream(agent), events.encode(event)) for event in told])
    await store.transact(writes)
    for several in appends:
        for append in several:
            await store.append(append.stream, [append.data])


if __name__ == "__main__":
    asyncio.run(fill(sys.argv[1], int(sys.argv[2])))
