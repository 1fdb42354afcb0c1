"""A range of etcd's keys watched from a revision on: every change above it once, whole transactions, over any cut.

One gRPC stream per watch, read only when the consumer asks: HTTP/2 holds a slow consumer's changes back on the
server, which keeps them in its own history. It goes on behind the last revision *delivered*: a header may already
name a later one. Whether that revision still can be read is asked each time: if it is compacted, changes may be
missing, and `Compacted` says so.
"""

from __future__ import annotations

import asyncio
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Self

import grpc

from coordstore.errors import StoreClosed, StoreReplaced, Unavailable
from coordstore_etcd.cluster import TRY
from coordstore_etcd.faults import Compacted, FutureRevision, Meaning, meaning, refusal
from coordstore_etcd.messages import messages

if TYPE_CHECKING:
    from collections import Counter

    from coordstore_etcd.cluster import Cluster
    from coordstore_etcd.layout import Span
    from coordstore_etcd.member import Member
    from coordstore_etcd.reads import Reader

__all__ = ["Events"]

_QUIET: Final = 2.0
"""Seconds without a word, after which the server is asked for one."""
_PAUSE: Final = 0.2
_REVISION: Final = attrgetter("kv.mod_revision")


class Events:
    """The changes of a range above a revision.

    Args:
        reader: The store's reader.
        span: The range.
        since: The revision above which changes are wanted.
        counters: Where events and reconnections are counted.
        fresh: Whether `since` was just read, so that it need not be asked whether it can be.
    """

    def __init__(self, reader: Reader, span: Span, since: int, counters: Counter[str], *, fresh: bool = False) -> None:
        self._reader = reader
        self._cluster: Cluster = reader.cluster
        self._span = span
        self._delivered = since
        self._counters = counters
        self._fresh = fresh
        self._begun = False
        self._closed = False
        self._call: Any = None
        self._requests: _Requests | None = None
        self._member: Member | None = None
        self._guard: asyncio.Task[None] | None = None
        self._partial: list[Any] = []
        self._waiting_since: float | None = None
        self._refused = ""

    def close(self) -> None:
        """End the stream; whoever waits in `next` gets `StoreClosed`."""
        self._closed = True
        self._drop()

    async def next(self) -> list[tuple[int, list[Any]]]:
        """Return the next transactions' changes of the range, each with its revision; cancelled: closed.

        Raises:
            Compacted: Changes above the revision delivered last are compacted.
            StoreReplaced: That revision is ahead of the store's.
            StoreClosed: It was closed meanwhile.
        """
        while True:
            if self._call is None:
                await self._pause()
                await self._connect()
            response = await self._receive()
            groups = [] if response is None else self._take(response)
            if groups:
                self._delivered = groups[-1][0]
                self._counters["events"] += sum(len(events) for _, events in groups)
                return groups

    # --- the stream -------------------------------------------------------------------------------------

    async def _pause(self) -> None:
        """Wait before a watch that etcd ended is begun again; when it is forbidden, there is no again."""
        if self._refused:
            reason, self._refused = self._refused, ""
            if "permission" in reason:
                message = f"etcd refused to watch ({reason}): grant the user's role the store's prefix"
                raise Unavailable(message)
            await asyncio.sleep(_PAUSE)

    async def _connect(self) -> None:
        """Begin the stream behind the last revision delivered; a watch that had begun waits as long as it takes."""
        while True:
            self._ensure_open()
            try:
                await self._begin()
            except FutureRevision as error:
                message = f"revision {self._delivered} is ahead of the store: it was replaced or restored; start anew"
                raise StoreReplaced(message) from error
            except StoreClosed:
                raise
            except Unavailable:
                if not self._begun:
                    raise
                await asyncio.sleep(_PAUSE)
            else:
                self._fresh, self._begun = False, True
                return

    async def _begin(self) -> None:
        if not self._fresh:
            await self._reader.probe(self._delivered)
        requests = _Requests(
            messages.WatchCreateRequest(
                key=self._span.low, range_end=self._span.high, start_revision=self._delivered + 1, fragment=True
            )
        )
        member, call = await self._cluster.stream("Watch", requests)
        self._partial.clear()
        self._member, self._call, self._requests = member, call, requests
        self._guard = asyncio.create_task(self._watch_over(call, requests, member), name="etcd-watch")

    async def _receive(self) -> Any:  # noqa: ANN401  (a message, or None when the stream was cut)
        self._waiting_since = asyncio.get_running_loop().time()
        try:
            response = await self._call.read()
        except grpc.aio.AioRpcError as error:
            await self._cut(error)
            return None
        except (grpc.aio.UsageError, asyncio.InvalidStateError):
            await self._cut(None)
            return None
        except asyncio.CancelledError:
            self._unless_mine()
            await self._cut(None)
            return None
        finally:
            self._waiting_since = None
        if response is grpc.aio.EOF:
            await self._cut(await _ended(self._call))
            return None
        return response

    def _take(self, response: Any) -> list[tuple[int, list[Any]]]:  # noqa: ANN401  (a message)
        """Return the transactions that are whole with this answer; a part of one waits for its rest."""
        if response.canceled:
            self._drop()
            if response.compact_revision:
                raise Compacted(response.compact_revision)
            self._counters["watch_cancels"] += 1
            self._refused = response.cancel_reason or "for no reason it gave"
            return []
        self._partial += response.events
        groups = [(revision, list(events)) for revision, events in groupby(self._partial, _REVISION)]
        self._partial = groups.pop()[1] if response.fragment and groups else []
        return groups

    # --- cuts -------------------------------------------------------------------------------------------

    async def _cut(self, error: grpc.aio.AioRpcError | None) -> None:
        """Take the stream for gone; another one is begun, on another member."""
        self._ensure_open()
        self._counters["reconnections"] += 1
        member = self._member
        self._drop()
        if error is not None and meaning(error) is Meaning.REFUSED:
            raise refusal(error) from error
        if member is not None:
            self._cluster.pass_over(member)
        await asyncio.sleep(_PAUSE / 10)

    def _drop(self) -> None:
        if self._guard is not None:
            self._guard.cancel()
        if self._call is not None:
            self._call.cancel()
        if self._requests is not None:
            # A call that ended by itself leaves the task that waits for more requests: it would wait for ever.
            self._requests.close()
        self._guard = self._call = self._requests = None

    async def _watch_over(self, call: Any, requests: _Requests, member: Member) -> None:  # noqa: ANN401  (a call)
        """Ask for a sign of life when it is quiet, and cut the stream when none comes."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_QUIET)
            waiting = self._waiting_since
            if waiting is None or loop.time() - waiting < _QUIET:
                continue
            requests.ask_for_progress()
            await asyncio.sleep(2 * TRY)
            if self._waiting_since == waiting:
                self._counters["silent_streams"] += 1
                self._cluster.pass_over(member)
                call.cancel()
                return

    def _unless_mine(self) -> None:
        """After a `CancelledError`: go on when the call was cancelled, and not the task that waits for it."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise asyncio.CancelledError
        self._ensure_open()

    def _ensure_open(self) -> None:
        if self._closed:
            message = "this store handle was closed: open the store again with open_store()"
            raise StoreClosed(message)


class _Requests:
    """What is sent on a watch's stream: the request that makes it, then calls for a sign of life.

    An iterator, because a `write` never returns on a stream that is cancelled before its headers are out.
    """

    def __init__(self, create: Any) -> None:  # noqa: ANN401  (a message)
        self._queue: asyncio.Queue[Any] = asyncio.Queue()
        self._queue.put_nowait(messages.WatchRequest(create=create))

    def ask_for_progress(self) -> None:
        """Have the server send something."""
        self._queue.put_nowait(messages.WatchRequest(progress=messages.WatchProgressRequest()))

    def close(self) -> None:
        """Have no more to send."""
        self._queue.put_nowait(None)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:  # noqa: ANN401  (a message)
        if (request := await self._queue.get()) is None:
            raise StopAsyncIteration
        return request


async def _ended(call: Any) -> grpc.aio.AioRpcError | None:  # noqa: ANN401  (a call)
    """Return the error with which a stream ended."""
    code = await call.code()
    if code is grpc.StatusCode.OK:
        return None
    return grpc.aio.AioRpcError(
        code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
    )
