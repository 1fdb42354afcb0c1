"""Group commit: whoever asks while a batch is being written is in the next one, all of it under one sync.

A request waits in the queue until its batch is *sealed*; cancelled before that it is dropped, later the batch
runs to its end and only the answer is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from coordstore.errors import StoreClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Batches", "Outcome"]

Request = TypeVar("Request")
Result = TypeVar("Result")


@dataclass(slots=True)
class Outcome(Generic[Result]):
    """What became of one request: a result, or an error to raise to whoever asked."""

    result: Result | None = None
    error: BaseException | None = None


@dataclass(slots=True)
class _Waiting(Generic[Request, Result]):
    request: Request
    size: int
    answer: asyncio.Future[Result]


class Batches(Generic[Request, Result]):
    """A queue in front of one writer.

    Args:
        write: Writes a batch and tells what became of each request, in order; an error is everybody's.
        most: Requests in a batch, at most.
        size_most: Bytes in a batch, about.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Request]], Awaitable[Sequence[Outcome[Result]]]],
        *,
        most: int = 256,
        size_most: int = 8 * 1024 * 1024,
    ) -> None:
        self._write = write
        self._most = most
        self._size_most = size_most
        self._queue: deque[_Waiting[Request, Result]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    def __repr__(self) -> str:
        """Show how many wait."""
        return f"<Batches {len(self._queue)} waiting>"

    def submit(self, request: Request, size: int = 0) -> asyncio.Future[Result]:
        """Have a request written; the future, which is awaited at once, has its result or error.

        Args:
            request: What to write.
            size: Its bytes, about.

        Raises:
            StoreClosed: The queue was closed before the request was sealed. Not applied.
        """
        if self._closed:
            raise StoreClosed(_CLOSED)
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append(_Waiting(request, size, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work(), name="group-commit")
        return answer

    async def aclose(self) -> None:
        """Refuse what is not sealed yet and wait for the batch that is. Cancelled: the queue is closed all the same."""
        self._closed = True
        while self._queue:
            _fail(self._queue.popleft(), StoreClosed(_CLOSED))
        if self._worker is not None:
            await asyncio.shield(self._worker)

    async def _work(self) -> None:
        # A task begins after this turn of the loop: whoever asks in the same turn is in the first batch.
        while batch := self._seal():
            try:
                outcomes = await self._write([waiting.request for waiting in batch])
            except BaseException as error:
                for waiting in batch:
                    _fail(waiting, error)
                if not isinstance(error, Exception):
                    self._worker = None
                    raise
            else:
                _tell(batch, outcomes)
            # Let those who were answered ask again before the next batch is sealed.
            await asyncio.sleep(0)
        self._worker = None

    def _seal(self) -> list[_Waiting[Request, Result]]:
        batch: list[_Waiting[Request, Result]] = []
        size = 0
        while self._queue and len(batch) < self._most and size < self._size_most:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                size += waiting.size
        return batch


_CLOSED = "this store handle was closed before the write began: not applied; open the store again"


def _tell(batch: Sequence[_Waiting[Request, Result]], outcomes: Sequence[Outcome[Result]]) -> None:
    for waiting, outcome in zip(batch, outcomes, strict=True):
        answer = waiting.answer
        if answer.done():
            continue
        if outcome.error is None:
            answer.set_result(outcome.result)  # type: ignore[arg-type]  # no error: there is a result
        else:
            answer.set_exception(outcome.error)


def _fail(waiting: _Waiting[Request, Result], error: BaseException) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
