"""A connection and the thread that owns it: whole functions run there, in one hop each."""

from __future__ import annotations

import asyncio
import sqlite3
from typing import TYPE_CHECKING, Concatenate, Final, ParamSpec, TypeVar

import aiosqlite

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from coordstore.hostkit import StoreLock

__all__ = ["Connection", "connect", "to_the_end"]

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")

_BUSY: Final = 5.0
"""Seconds to wait for SQLite's own locks: they are contended only by recovery after a crash, and by strangers."""
_CLOSE_WAIT: Final = 1.0
_WRITER_CACHE: Final = 16 * 1024
"""KiB of pages that a writer may keep: each stream that grows has a page of `places` of its own."""
_READER_CACHE: Final = 2 * 1024


class Connection:
    """An open connection; close it with `aclose`.

    Args:
        owner: The object that owns connection and thread.
        raw: The connection itself, for use in that thread only.
    """

    def __init__(self, owner: aiosqlite.Connection, raw: sqlite3.Connection) -> None:
        self._owner = owner
        self._raw = raw

    @classmethod
    async def open(cls, connector: Callable[[], sqlite3.Connection]) -> Connection:
        """Start a thread, let it make the connection, and keep both; cancelled: neither is left behind."""
        failed: list[BaseException] = []
        owner = aiosqlite.Connection(lambda: _connection_or(failed, connector), 64)
        # A handle that nobody closed must not keep the process from ending; at worst that is a kill -9, which is safe.
        getattr(owner, "_thread", owner).daemon = True  # type: ignore[union-attr]  # it has, or is, a thread
        try:
            await to_the_end(_started(owner, failed))
        except BaseException:
            await to_the_end(owner.close())
            raise
        return cls(owner, owner._conn)  # noqa: SLF001  (the raw connection has no public name)

    async def run(
        self,
        function: Callable[Concatenate[sqlite3.Connection, Arguments], Result],
        *args: Arguments.args,
        **kwargs: Arguments.kwargs,
    ) -> Result:
        """Run a function with the connection in its thread; cancelled: it runs on, its result is lost."""
        # The public methods hop once per statement; a transaction must be one function, so that nothing tears it.
        return await self._owner._execute(function, self._raw, *args, **kwargs)  # type: ignore[no-any-return,no-untyped-call]  # noqa: SLF001

    async def aclose(self, lock: StoreLock) -> None:
        """Close the connection under the store's lock, end the thread; cancelled: it is done all the same.

        The last connection that closes checkpoints: no writer may be at work meanwhile.
        """
        await to_the_end(self._close(lock))

    async def _close(self, lock: StoreLock) -> None:
        try:
            await self.run(_close_locked, lock)
        finally:
            await self._owner.close()


def connect(path: Path, durability: str, *, writable: bool) -> sqlite3.Connection:
    """Open a database that exists, with the settings of a store; blocks."""
    # psow, the default: a commit's frame is the last one written (see `writer._undone`).
    raw = sqlite3.connect(
        f"{path.as_uri()}?mode=rw&psow=1", uri=True, timeout=_BUSY, isolation_level=None, cached_statements=64
    )
    try:
        for pragma in (
            "trusted_schema=OFF",
            "cell_size_check=ON",
            "wal_autocheckpoint=0",
            f"synchronous={'FULL' if durability == 'full' else 'NORMAL'}",
            f"cache_size={-_WRITER_CACHE if writable else -_READER_CACHE}",
            f"query_only={'OFF' if writable else 'ON'}",
        ):
            raw.execute(f"PRAGMA {pragma}")
    except BaseException:
        raw.close()
        raise
    return raw


async def to_the_end(work: Coroutine[None, None, Result]) -> Result:
    """Await something to its end even when cancelled meanwhile; then the cancellation goes on."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and not task.cancelled() and task.exception() is None:
        raise cancelled
    return task.result()


def _connection_or(failed: list[BaseException], connector: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    """Make the connection; note a failure and give the thread an empty one, which can be closed and awaited."""
    try:
        return connector()
    except BaseException as error:  # noqa: BLE001  (it is raised again where it is awaited)
        failed.append(error)
        return sqlite3.connect(":memory:")


async def _started(owner: aiosqlite.Connection, failed: list[BaseException]) -> None:
    await owner
    if failed:
        raise failed.pop()


def _close_locked(raw: sqlite3.Connection, lock: StoreLock) -> None:
    from coordstore.errors import Unavailable

    try:
        with lock.held(_CLOSE_WAIT):
            raw.close()
    except Unavailable:
        # Its holder is stopped, or gone from a path that is no more. It has the database open, so this connection is
        # not the last and will not checkpoint.
        raw.close()
