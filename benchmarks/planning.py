"""What the check of a plan and the reservation of its scopes cost per task, in a plan and in one ten times as long."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

from benchmarks.table import Row, median
from coordstore.testing import MemoryStore
from coordstore_orchestrator.plan import build_plan, check_plan
from coordstore_orchestrator.plan.reserve import Reservations

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore_orchestrator.plan import Plan

__all__ = ["measure"]

TASKS: Final = 1_000
TIMES: Final = 10
ROUNDS: Final = 2
GOAL: Final = 2.0
"""How much dearer a task may be in the long plan: an index, not all pairs."""


def measure(scale: float = 1.0) -> list[Row]:
    """Check and reserve plans of both lengths."""
    short, long = (_plan(max(10, round(TASKS * scale * times))) for times in (1, TIMES))
    return [
        _row("check of a plan", check_plan, short, long),
        _row("reservation of its scopes", lambda plan: asyncio.run(_reserve(plan)), short, long),
    ]


def _plan(count: int) -> Plan:
    tasks = [
        {"id": f"t{n}", "prompt": "p", "writes": [f"src/part{n}/**/*.py", f"docs/{n}.md"], "reads": [f"lib/{n}"]}
        for n in range(count)
    ]
    return build_plan({"goal": "g", "agent": {"command": ["true"]}, "tasks": tasks})


async def _reserve(plan: Plan) -> None:
    """Reserve beside a session of the same length that writes elsewhere."""
    mine = {task.id: list(task.writes) for task in plan.tasks}
    others = {task: [f"other/{pattern}" for pattern in patterns] for task, patterns in mine.items()}
    async with MemoryStore() as store, await store.grant(3600) as lease:
        reservations = Reservations(store, "r")
        await reservations.reserve("one", others, lease)
        await reservations.reserve("two", mine, lease)


def _row(what: str, action: Callable[[Plan], object], short: Plan, long: Plan) -> Row:
    one, many = (_per_task(action, plan) for plan in (short, long))
    claim = f"{what}: a task of {len(long.tasks):,} against one of {len(short.tasks):,}"
    figure = f"{many / one:.1f} ({many * 1e6:.0f} µs a task)"
    return Row(claim, f"at most {GOAL:g} times", figure, many <= GOAL * one)


def _per_task(action: Callable[[Plan], object], plan: Plan) -> float:
    took = []
    for _ in range(ROUNDS):
        began = time.process_time()
        action(plan)
        took.append(time.process_time() - began)
    return median(took) / len(plan.tasks)
