"""Group commit: whoever asks while a batch is being written is in the next one, all of it under one sync.

A request waits in the queue until its batch is *sealed*; cancelled before that it is dropped, later the batch
runs to its end and only the answer is lost.

A writer that had to wait for its turn need not give it back after one batch: it can have that answered, and the next
one, from those who ask again at once (`Writing.more`).
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from coordstore.errors import StoreClosed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

__all__ = ["Batches", "Outcome", "Writing"]

_MOMENT: Final = 0.001
"""Seconds within which somebody asks again at once; a loop that is busy for longer is not waited for."""

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
        write: Writes a batch, and those that it asks for behind it, and tells what became of each request of the
            last one, in order; an error is everybody's.
        most: Requests in a batch, at most.
        size_most: Bytes in a batch, about.

    Attributes:
        brisk: Whether those who were answered the last time asked again at once.
    """

    def __init__(
        self,
        write: Callable[[Writing[Request, Result]], Awaitable[Sequence[Outcome[Result]]]],
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
        self.brisk = False

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
            writing = Writing(self, batch)
            try:
                outcomes = await self._write(writing)
            except BaseException as error:
                writing.fail(error)
                if not isinstance(error, Exception):
                    self._worker = None
                    raise
            else:
                writing.tell(outcomes)
            told = time.monotonic()
            # Let those who were answered ask again before the next batch is sealed.
            await asyncio.sleep(0)
            self.brisk = bool(self._queue) and time.monotonic() - told < _MOMENT
        self._worker = None

    def following(self) -> list[_Waiting[Request, Result]]:
        """Seal the next batch for a writer that asked for more."""
        batch = self._seal()
        self.brisk = bool(batch)
        return batch

    def _seal(self) -> list[_Waiting[Request, Result]]:
        batch: list[_Waiting[Request, Result]] = []
        size = 0
        while self._queue and len(batch) < self._most and size < self._size_most:
            waiting = self._queue.popleft()
            if not waiting.answer.done():
                batch.append(waiting)
                size += waiting.size
        return batch


class Writing(Generic[Request, Result]):
    """A batch in the hands of a writer, then the one behind it, as long as it asks for more.

    Args:
        batches: The queue.
        batch: What was sealed first.
    """

    def __init__(self, batches: Batches[Request, Result], batch: list[_Waiting[Request, Result]]) -> None:
        self.requests = [waiting.request for waiting in batch]
        self._batches = batches
        self._batch = batch
        self._loop = asyncio.get_running_loop()
        self._failed = False

    def more(self, outcomes: Sequence[Outcome[Result]]) -> bool:
        """Answer `requests` and tell whether there are others there now; blocks, for a millisecond at most.

        Called in the writer's thread. When there are none, the outcomes are returned by the writer all the same.
        """
        if not self._batches.brisk:
            return False
        offer = _Offer()
        try:
            self._loop.call_soon_threadsafe(self._turn, outcomes, offer)
        except RuntimeError:
            # The loop was closed: there is nobody to answer.
            return False
        return offer.taken(_MOMENT)

    def tell(self, outcomes: Sequence[Outcome[Result]]) -> None:
        """Answer the batch."""
        for waiting, outcome in zip(self._batch, outcomes, strict=True):
            answer = waiting.answer
            if answer.done():
                continue
            if outcome.error is None:
                answer.set_result(outcome.result)  # type: ignore[arg-type]  # no error: there is a result
            else:
                answer.set_exception(outcome.error)

    def fail(self, error: BaseException) -> None:
        """Answer the batch with an error; there will be no other one."""
        self._failed = True
        for waiting in self._batch:
            _fail(waiting, error)

    def _turn(self, outcomes: Sequence[Outcome[Result]], offer: _Offer) -> None:
        if not self._failed:
            self.tell(outcomes)
        # Those who were answered run before that.
        self._loop.call_soon(offer.make, self._go_on)

    def _go_on(self) -> bool:
        batch = [] if self._failed else self._batches.following()
        if batch:
            self.requests, self._batch = [waiting.request for waiting in batch], batch
        return bool(batch)


class _Offer:
    """What the loop makes for a thread that waits for it a moment; made too late, it is not made."""

    def __init__(self) -> None:
        self._made = threading.Lock()
        self._made.acquire()
        self._mutex = threading.Lock()
        self._over = False
        self._good = False

    def make(self, work: Callable[[], bool]) -> None:
        with self._mutex:
            if not self._over:
                self._good = work()
        self._made.release()

    def taken(self, seconds: float) -> bool:
        # A lock that the other side lets go of is half as dear as an Event.
        self._made.acquire(timeout=seconds)
        with self._mutex:
            self._over = True
            return self._good


_CLOSED = "this store handle was closed before the write began: not applied; open the store again"


def _fail(waiting: _Waiting[Request, Result], error: BaseException) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)
