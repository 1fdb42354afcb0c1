"""Ways to wait: for the first of several things, for a change, for a request that is under way; and what time it is."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar

from coordstore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from coordstore.model import Change, Entry
    from coordstore.store import CoordStore

__all__ = ["Ids", "News", "by_age", "changed", "check_wait", "first", "to_the_end", "views", "wall_time"]

T = TypeVar("T")
News: TypeAlias = "tuple[str, int, Callable[[Change], bool]]"
"""A change to wait for: under which prefix, after which revision, of which kind."""


async def first(*awaited: Coroutine[Any, Any, None]) -> int:
    """Wait for whichever ends first, cancel the others, and return its index; raise what it raised."""
    tasks = [asyncio.ensure_future(each) for each in awaited]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        ended = next(index for index, task in enumerate(tasks) if task.done())
        tasks[ended].result()
        return ended
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def to_the_end(request: Coroutine[Any, Any, T], took: Callable[[T], None]) -> None:
    """Let a request come to its end and take in what it did, also when the caller is cancelled meanwhile.

    So a cancelled holder knows what to give back. Cancelled twice, it does not wait: its lease gives it back.
    """
    task = asyncio.ensure_future(request)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        if not task.cancelled() and task.exception() is None:
            took(task.result())
        raise
    took(task.result())


def check_wait(wait: float | None) -> float | None:
    """Return how long to wait: None, 0 (not at all) or seconds; refuse anything else."""
    if wait is None or wait >= 0:
        return wait
    message = f"wait is None (as long as it takes), 0 (not at all) or seconds, not {wait!r}"
    raise InvalidArgument(message)


def by_age(entries: list[Entry]) -> list[Entry]:
    """Return entries in the order in which they were created."""
    return sorted(entries, key=lambda entry: (entry.create_revision, entry.key))


async def changed(store: CoordStore, prefix: str, since: int, wanted: Callable[[Change], bool]) -> None:
    """Return at the first change after a revision that is wanted, or when history was forgotten: look again."""
    async with aclosing(store.watch(prefix, since)) as batches:
        async for batch in batches:
            if batch.reset or any(wanted(change) for change in batch.changes):
                return


async def views(store: CoordStore, prefix: str) -> AsyncGenerator[dict[str, Entry]]:
    """Yield the entries of a prefix, by key, at each revision at which they changed; the same mapping each time."""
    entries: dict[str, Entry] = {}
    whole = True
    async with aclosing(store.watch(prefix)) as batches:
        async for batch in batches:
            if batch.reset and whole:
                entries.clear()
            whole = batch.complete
            for change in batch.changes:
                if change.entry is None:
                    entries.pop(change.key, None)
                else:
                    entries[change.key] = change.entry
            if whole:
                yield entries


def wall_time() -> float:
    """Return wall time: for the TTL of notes and messages only, never for who holds what."""
    return time.time()


class Ids:
    """Makes ids that are unique, and of which those of one maker sort in the order of making."""

    def __init__(self) -> None:
        self._last = 0

    def next(self, now: float) -> str:
        """Return one more; `now` is wall time in seconds."""
        self._last = max(self._last + 1, int(now * 1000) << 12)
        return f"{self._last:016x}-{secrets.token_hex(4)}"
