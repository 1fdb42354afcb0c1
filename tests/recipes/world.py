"""Where the checks of recipes take place: one store of some backend, seen by several parties, and its time."""

from __future__ import annotations

import asyncio
import inspect
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordstore import open_store, recipes
from coordstore.testing import Clock, Memory, MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from coordstore.recipes import Held
    from coordstore.store import CoordStore

PATIENCE = 30.0
"""Seconds after which what does not come is taken never to come."""


@dataclass
class Kit:
    """The recipes that a check is about: the sound ones, or with one that is broken."""

    Lock: Any = recipes.Lock
    Semaphore: Any = recipes.Semaphore
    Election: Any = recipes.Election
    Barrier: Any = recipes.Barrier
    DoubleBarrier: Any = recipes.DoubleBarrier
    Counter: Any = recipes.Counter
    Membership: Any = recipes.Membership
    Pool: Any = recipes.Pool
    Mailbox: Any = recipes.Mailbox
    Scratchpad: Any = recipes.Scratchpad


@dataclass
class World:
    """One store that several parties share.

    Args:
        backend: Which.
        opener: Opens one more handle on it.
        clock: Its virtual time, or None.
        patience: Seconds to wait for what must come.
    """

    backend: str
    opener: Callable[[], AbstractAsyncContextManager[CoordStore]]
    clock: Clock | None = None
    patience: float = PATIENCE
    handles: AsyncExitStack = field(default_factory=AsyncExitStack)
    shifted: float = 0.0
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)

    async def open(self) -> CoordStore:
        """Open a handle, as another process would."""
        return await self.handles.enter_async_context(self.opener())

    async def close(self) -> None:
        """Stop what was started and close the handles."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.handles.aclose()

    def wall(self) -> float:
        """Return wall time, as the recipes see it."""
        return 1_700_000_000 + self.shifted

    async def pause(self, seconds: float) -> None:
        """Let time pass."""
        await (self.clock.advance(seconds) if self.clock else asyncio.sleep(seconds))

    async def lose(self, held: Held) -> None:
        """Let a holder lose its lease and see it: its store is out of reach, or somebody ended it."""
        if self.clock:
            store: Any = held._store
            store.memory.set_deadline(held.lease.id, 0)
        else:
            other: Any = await self.open()
            await other.lease_revoke(held.lease.id)
        await self.until(lambda: held.lost)

    def start(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Run something beside the check; it is stopped at the end."""
        self.tasks.append(asyncio.ensure_future(work))
        return self.tasks[-1]

    async def until(self, condition: Callable[[], Any | Awaitable[Any]]) -> None:
        """Return once a condition holds."""
        end, looks = time.monotonic() + self.patience, 200 * self.patience
        while True:
            found = condition()
            if await found if inspect.isawaitable(found) else found:
                return
            looks -= 1
            over = looks < 0 if self.clock else time.monotonic() > end
            assert not over, f"never came: {_told(condition)}"
            if self.clock:
                await self.clock.advance(0.05)
            else:
                await asyncio.sleep(0.005)

    async def soon(self, awaited: Awaitable[Any]) -> Any:
        """Return what comes, within reason."""
        task = asyncio.ensure_future(awaited)
        await asyncio.wait([task], timeout=self.patience)
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            message = f"never came: {awaited}"
            raise AssertionError(message)
        return task.result()


def _told(condition: Any) -> str:
    try:
        return inspect.getsource(condition).strip()
    except TypeError:
        return repr(condition)


async def collect(source: AsyncIterator[Any], into: list[Any], of: Callable[[Any], Any] = lambda item: item) -> None:
    """Put what a source yields into a list, as it comes."""
    async for item in source:
        into.append(of(item))  # noqa: PERF401  (as it comes, not at the end)


def memory_world(patience: float = PATIENCE) -> World:
    """Return a world on virtual time."""
    clock = Clock()
    memory = Memory(clock)
    return World("memory", lambda: MemoryStore(memory), clock, patience)


def on_disk(scheme: str) -> Callable[[Path], World]:
    """Return what makes a world on a backend of this host."""
    return lambda folder: World(scheme, lambda: open_store(f"{scheme}:{folder}/store"))


def on_etcd(url: str) -> World:
    """Return a world in an etcd that runs already."""
    return World("etcd", lambda: open_store(url))


WORLDS: dict[str, Callable[[Path], World]] = {
    "memory": lambda _: memory_world(),
    "sqlite": on_disk("sqlite"),
    "file": on_disk("file"),
}
"""How a world of each backend is made that needs no server; whoever brings such a backend adds a line."""
