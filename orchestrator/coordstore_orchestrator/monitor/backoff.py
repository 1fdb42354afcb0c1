"""Waits before an attempt is made again, on the store's clock; a new orchestrator waits anew."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from coordstore.store import clock_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.store import CoordStore
    from coordstore_orchestrator.monitor.decide import Assign

__all__ = ["Backoff"]


class Backoff:
    """Keeps attempts from being made before their time.

    Args:
        store: Whose clock counts.
        due: Called with the task when the time of its attempt has come.
    """

    def __init__(self, store: CoordStore, due: Callable[[str], None]) -> None:
        self._clock = clock_of(store)
        self._due = due
        self._waits: dict[tuple[str, int], asyncio.Task[None]] = {}

    def over(self, action: Assign) -> bool:
        """Tell whether an attempt may be made now; asked for the first time, its wait begins."""
        if action.wait <= 0:
            return True
        key = (action.task, action.attempt)
        if key not in self._waits:
            self._waits[key] = asyncio.create_task(self._clock.sleep(action.wait), name=f"wait of {action.task}")
            self._waits[key].add_done_callback(lambda _: self._due(action.task))
        return self._waits[key].done()

    def close(self) -> None:
        """End all waiting."""
        for wait in self._waits.values():
            wait.cancel()
