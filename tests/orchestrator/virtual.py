"""An event loop on virtual time: it never waits; when nothing is left to do now, it is the time of the next timer.

The loop's own clock is the virtual one, so timeouts of asyncio run on it too; the turns of the loop are those that the
code under test takes, and none more. What waits for something else than time cannot run on it.
"""

from __future__ import annotations

import asyncio
import selectors
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping

__all__ = ["LoopClock", "VirtualLoop", "run_virtually"]

START: Final = 1000.0


class _Nothing(selectors.BaseSelector):
    """Selects nothing; asked to wait, it moves the time on."""

    def __init__(self) -> None:
        self.now = START
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, fileobj, events, data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            message = "everything waits, and nothing will happen any more"
            raise AssertionError(message)
        self.now += max(timeout, 0)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return self._keys

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        return self._keys[fileobj]


class VirtualLoop(asyncio.SelectorEventLoop):
    """The loop."""

    def __init__(self) -> None:
        self._virtual = _Nothing()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now


class LoopClock:
    """The running loop's clock, as a store takes one."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0))


def run_virtually(main: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end, in no time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
