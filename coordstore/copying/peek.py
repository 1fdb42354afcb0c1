"""A feed whose next item can be looked at before it is taken."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

__all__ = ["Peek"]

Item = TypeVar("Item")


class Peek(Generic[Item]):
    """A watch or follow; close it with `aclose`."""

    def __init__(self, source: AsyncGenerator[Item]) -> None:
        self.item: Item | None = None
        self._source = source
        self._task: asyncio.Task[Item] | None = None

    @property
    def task(self) -> asyncio.Task[Item]:
        """What ends when the next item can be looked at."""
        if self._task is None:
            self._task = asyncio.create_task(_next(self._source), name="copy-feed")
        return self._task

    @property
    def ready(self) -> bool:
        """Whether `look` answers at once."""
        return self.item is not None or (self._task is not None and self._task.done())

    async def look(self, seconds: float | None = None) -> Item | None:
        """Return the next item without taking it; None when it does not come in so many seconds; cancel at will."""
        if self.item is None:
            await asyncio.wait([self.task], timeout=seconds)
            if not self.task.done():
                return None
            self.item = self.task.result()
        return self.item

    def take(self) -> None:
        """Let go of the item that was looked at."""
        self.item = self._task = None

    async def aclose(self) -> None:
        """End the feed."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                # Whatever it had to say, nobody wants to know any more.
                await self._task
        await self._source.aclose()


async def _next(source: AsyncGenerator[Item]) -> Item:
    return await anext(source)
