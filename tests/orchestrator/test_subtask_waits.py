"""An agent that waits for what it delegated, moment by moment."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from coordstore_orchestrator.worker.delegation import Patience, Subtasks
from coordstore_orchestrator.worker.naps import Berth, Naps

pytestmark = pytest.mark.req("T4")


class Parts:
    """Stands for the claim, for what the worker sees of the session, and for what it does for an attempt."""

    def __init__(self) -> None:
        self.agent = "p.1"
        self.tasks: dict[str, Any] = {}
        self.ended: set[str] = set()

    def merged(self, name: str) -> bool:
        return name in self.ended

    def pause(self) -> None:
        """Count no time."""

    go_on = pause


async def test_a_subtask_that_ends_while_its_parent_lies_down_wakes_it_at_once() -> None:
    parts, naps, told = Parts(), Naps(), list[Any]()
    naps.view = parts  # type: ignore[assignment]  # as much of a view as is asked for

    async def give_back(_: object) -> None:
        parts.ended.add("p-1-1")

    def wake_worker() -> None:
        for berth in naps.rising:
            naps.rise(berth, None)

    naps.serve(give_back, wake_worker)
    naps.enter("p.1", Berth(object()))  # type: ignore[arg-type]  # a slot of whatever kind
    subtasks = Subtasks(parts, parts, parts, naps, told.extend, Patience())  # type: ignore[arg-type]  # likewise
    subtasks._made["p-1-1"] = {"name": "one"}
    async with asyncio.timeout(10):
        answer = await subtasks.wait({}, asyncio.Event().wait)
    assert answer["woken"] == "ended"
    assert answer["tasks"] == [{"task": "p-1-1", "name": "one", "open": False, "state": "pending"}]
