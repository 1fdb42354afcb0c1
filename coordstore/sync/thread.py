"""One event loop on a thread of its own, in which one resource lives and on which other threads' calls run.

The resource is opened and closed by one task, the thread's first; each call is another task. Calls enter through a
gate. Whoever closes shuts it first, and what came in before is already in the loop's queue: so no call is left
waiting for a loop that has ended.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, ParamSpec, TypeVar

from coordstore.errors import CoordError, ForkRefused, OutcomeUnknown, StoreClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

__all__ = ["InsideEventLoop", "LoopThread"]

P = ParamSpec("P")
Result = TypeVar("Result")
Resource = TypeVar("Resource")

_LAST_CALLS: Final = 1.0
"""Seconds that calls under way get to end by themselves once the resource is closed."""
_CLOSED: Final = "this store handle was closed: open the store again with open_store()"


class InsideEventLoop(CoordError, RuntimeError):
    """A blocking call was made on a thread that runs an event loop, which would stand still meanwhile."""

    hint: ClassVar[str] = "Use the async store where a loop runs: await coordstore.open_store(…)."


class LoopThread(Generic[Resource]):
    """A resource, the loop it lives on, and the way in for other threads.

    Args:
        opened: What to enter when the thread starts and to leave when it ends.
        name: The thread's.

    Raises:
        CoordError: What opening raised; the thread has ended then.
        InsideEventLoop: This thread runs an event loop.
    """

    def __init__(self, opened: AbstractAsyncContextManager[Resource], name: str) -> None:
        _ensure_no_loop()
        self._pid = os.getpid()
        self._gate = threading.Lock()
        self._shut = False
        self._calls: set[asyncio.Future[Any]] = set()
        self._thread = threading.Thread(target=asyncio.run, args=(self._live(opened),), name=name, daemon=True)
        self._ready: concurrent.futures.Future[Resource] = concurrent.futures.Future()
        self._begun: concurrent.futures.Future[asyncio.AbstractEventLoop] = concurrent.futures.Future()
        self._error: BaseException | None = None
        self._thread.start()
        self._loop = self._begun.result()
        try:
            self.resource = self._ready.result()
        except BaseException:
            self.let_go()
            raise

    @property
    def closed(self) -> bool:
        """Whether the gate is shut."""
        return self._shut

    @property
    def here(self) -> bool:
        """Whether this is the process that the thread lives in, and not a forked child."""
        return os.getpid() == self._pid

    def ensure_may_block(self) -> None:
        """Refuse a forked child, and a thread whose event loop would stand still.

        Raises:
            ForkRefused: This is another process than the one that opened the store.
            InsideEventLoop: This thread runs an event loop (a notebook's own, between whose turns cells run, is none).
        """
        if not self.here:
            message = f"this store handle belongs to process {self._pid}: a forked child opens the store itself"
            raise ForkRefused(message)
        _ensure_no_loop(self._thread)

    def call(self, function: Callable[P, Awaitable[Result]], *args: P.args, **kwargs: P.kwargs) -> Result:
        """Run a coroutine function on the loop and return its result; blocks.

        Interrupted (Ctrl-C), what it runs is cancelled and the interrupt goes through.

        Raises:
            StoreClosed: The gate is shut; nothing was run.
            OutcomeUnknown: The store was closed meanwhile and the call did not end in time.
            ForkRefused, InsideEventLoop: As in `ensure_may_block`.
        """
        call = _Call()
        try:
            return self._submit(call, function, *args, **kwargs).result()
        except concurrent.futures.CancelledError as error:
            message = "the store handle was closed while this was under way: it may have been done; open it and look"
            raise OutcomeUnknown(message) from error
        except BaseException:
            self._post(call.cancel)
            raise

    def _submit(
        self, call: _Call, function: Callable[P, Awaitable[Result]], *args: P.args, **kwargs: P.kwargs
    ) -> concurrent.futures.Future[Result]:
        self.ensure_may_block()
        with self._gate:
            if self._shut:
                raise StoreClosed(_CLOSED)
            return asyncio.run_coroutine_threadsafe(self._run(call, function, *args, **kwargs), self._loop)

    def abandon(self, function: Callable[[], Awaitable[None]]) -> None:
        """Begin a call that nobody waits for, from wherever a garbage collection strikes; never blocks or raises."""
        self._post(lambda: self._keep(asyncio.ensure_future(function())))

    def close(self) -> None:
        """Shut the gate, close the resource, and return when the thread has ended; blocks.

        In a forked child: nothing, the resource is the parent's. Interrupted, the closing goes on by itself.

        Raises:
            CoordError: What closing raised.
            InsideEventLoop: This thread runs an event loop.
        """
        if self.here:
            self.ensure_may_block()
            with self._gate:
                self.let_go()
            self._thread.join()
            if self._error is not None:
                raise self._error

    def let_go(self) -> None:
        """Let the thread close the resource and end; for the last one who refers to it. Never blocks."""
        if not self._shut:
            self._shut = True
            self._post(self._end)

    def _post(self, function: Callable[[], object]) -> None:
        if self.here:
            # A closed loop has nothing left to tell.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(function)

    # --- on the thread ----------------------------------------------------------------------------------

    async def _live(self, opened: AbstractAsyncContextManager[Resource]) -> None:
        self._main, self._over = asyncio.current_task(), asyncio.Event()
        self._begun.set_result(asyncio.get_running_loop())
        try:
            async with opened as resource:
                self._ready.set_result(resource)
                await self._over.wait()
        except BaseException as error:  # noqa: BLE001  (raised again in the thread that opens or closes)
            self._error = error
            if not self._ready.done():
                self._ready.set_exception(error)
        if self._calls:
            await asyncio.wait(self._calls, timeout=_LAST_CALLS)

    def _keep(self, task: asyncio.Future[Any]) -> None:
        # The loop itself would forget it.
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _end(self) -> None:
        if self._ready.done():
            self._over.set()
        elif self._main is not None:
            self._main.cancel()

    async def _run(
        self, call: _Call, function: Callable[P, Awaitable[Result]], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        self._keep(call.begin())
        return await function(*args, **kwargs)


class _Call:
    """A call's task as soon as there is one: an interrupt may come before."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    def begin(self) -> asyncio.Task[Any]:
        """Take note of the task, the current one, and return it."""
        task = self._task = asyncio.current_task()
        if task is None or self._cancelled:
            raise asyncio.CancelledError
        return task

    def cancel(self) -> None:
        """Cancel it; on the loop's thread."""
        self._cancelled = True
        if self._task is not None:
            self._task.cancel()


def _ensure_no_loop(never: threading.Thread | None = None) -> None:
    """Refuse a thread that runs an event loop, unless a notebook's cells run there; refuse `never` in any case."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return
    if threading.current_thread() is never or not _in_notebook():
        message = (
            "coordstore.sync blocks, and this thread runs an event loop, which would stand still: use "
            "coordstore.open_store with await, or call this in another thread with asyncio.to_thread"
        )
        raise InsideEventLoop(message)


def _in_notebook() -> bool:
    """Tell whether this thread runs the cells of a notebook: its kernel calls them from inside its own loop."""
    return "ipykernel" in sys.modules and threading.current_thread() is threading.main_thread()
