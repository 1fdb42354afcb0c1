"""The blocking facade: each method is derived from the one of `CoordStore`, whose docstring is the specification.

A method here takes the same arguments, runs the asynchronous one on the store's own thread, and returns what that
returns. Watches and follows are iterators; leases renew themselves on the thread, however long the caller computes.
"""

from __future__ import annotations

import asyncio
import functools
import threading
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar

from coordstore import plugins
from coordstore.errors import OutcomeUnknown, Unavailable
from coordstore.store import CoordStore
from coordstore.store import Lease as AsyncLease
from coordstore.sync.thread import LoopThread

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from types import TracebackType

__all__ = ["Feed", "Lease", "Store", "open_store"]

P = ParamSpec("P")
Item = TypeVar("Item")
Result = TypeVar("Result")

_END: Final = object()


def open_store(url: str, **options: object) -> Store:
    """Open the store that a URL names, with an event loop of its own on a thread of its own.

    Close it with ``with`` or `Store.close`. A process that ends without loses nothing that was acknowledged; its
    leases end by their TTL.

    Args:
        url: As for `coordstore.open_store`.
        options: Likewise.

    Raises:
        InsideEventLoop: This thread runs an event loop: use `coordstore.open_store` there.
        CoordError: As `coordstore.open_store`.
    """
    return Store(LoopThread(plugins.open_store(url, **options), f"coordstore-sync {url[:40]}"))


def _blocking(
    method: Callable[Concatenate[Any, P], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Any, P], Result]:
    """Make the blocking form of a coroutine method, with its signature and docstring."""

    @functools.wraps(method)
    def call(self: Store | Lease, /, *args: P.args, **kwargs: P.kwargs) -> Result:
        asynchronous: Callable[P, Awaitable[Result]] = getattr(self._inner, method.__name__)
        return self._thread.call(asynchronous, *args, **kwargs)

    return call


def _iterating(
    method: Callable[Concatenate[Any, P], AsyncGenerator[Item]],
) -> Callable[Concatenate[Any, P], Feed[Item]]:
    """Make the blocking form of a method that returns an asynchronous generator."""

    @functools.wraps(method)
    def feed(self: Store, /, *args: P.args, **kwargs: P.kwargs) -> Feed[Item]:
        async def begin() -> AsyncGenerator[Item]:
            source: AsyncGenerator[Item] = getattr(self._inner, method.__name__)(*args, **kwargs)
            return source

        return Feed(self, self._thread.call(begin))

    return feed


class Store:
    """A store for any number of threads; made by `open_store`.

    Interrupted (Ctrl-C), a call is cancelled as its asynchronous form would be, and the store stays usable. A
    forked child is refused with `ForkRefused`, a thread that runs an event loop with `InsideEventLoop`.
    """

    def __init__(self, thread: LoopThread[CoordStore]) -> None:
        self._thread = thread
        self._inner = thread.resource

    info = _blocking(CoordStore.info)
    get = _blocking(CoordStore.get)
    list = _blocking(CoordStore.list)
    transact = _blocking(CoordStore.transact)
    put = _blocking(CoordStore.put)
    create = _blocking(CoordStore.create)
    delete = _blocking(CoordStore.delete)
    delete_prefix = _blocking(CoordStore.delete_prefix)
    watch = _iterating(CoordStore.watch)
    append = _blocking(CoordStore.append)
    read = _blocking(CoordStore.read)
    follow = _iterating(CoordStore.follow)
    heads = _blocking(CoordStore.heads)
    trim = _blocking(CoordStore.trim)
    drop = _blocking(CoordStore.drop)
    leases = _blocking(CoordStore.leases)
    resolve = _blocking(CoordStore.resolve)
    compact = _blocking(CoordStore.compact)

    def grant(self, ttl: int) -> Lease:
        """Grant a lease; see `CoordStore.grant`."""
        return Lease(self, self._thread.call(self._inner.grant, ttl))

    def statistics(self) -> dict[str, int | float]:
        """Return this handle's counters; see `CoordStore.statistics`."""
        return self._inner.statistics()

    def run(
        self, function: Callable[Concatenate[CoordStore, P], Awaitable[Result]], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Run a coroutine function on the store's thread, with the asynchronous store as its first argument.

        This is the way to all that has no blocking form. Interrupted: it is cancelled.
        """
        return self._thread.call(function, self._inner, *args, **kwargs)

    def close(self) -> None:
        """End the handle, as `CoordStore.aclose`, and its thread; calls under way in other threads end with an error.

        In a forked child: nothing, the handle is the parent's.
        """
        self._thread.close()

    aclose = close

    def __enter__(self) -> Self:
        """Return the handle itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the handle."""
        self.close()

    def __del__(self) -> None:
        if self._thread.here and not self._thread.closed:
            message = f"{self!r} was never closed: use `with`, or close()"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)
            self._thread.let_go()

    def __repr__(self) -> str:
        """Show the asynchronous handle."""
        return f"<sync.Store of {self._inner!r}>"


class Lease:
    """A granted lease; ``with lease`` renews it in the background and revokes it at the end.

    Attributes are those of `coordstore.Lease`.
    """

    def __init__(self, store: Store, inner: AsyncLease) -> None:
        self._store = store  # who holds a lease or a feed holds the store: it is not closed beneath them
        self._thread = store._thread  # noqa: SLF001  (of one module)
        self._inner = inner
        self.id = inner.id
        self.ttl = inner.ttl

    renew = _blocking(AsyncLease.renew)
    revoke = _blocking(AsyncLease.revoke)

    @property
    def deadline(self) -> float:
        """When it must be taken for lost: seconds on the store's clock (boot time)."""
        return self._inner.deadline

    @property
    def lost(self) -> bool:
        """Whether it has ended or must be taken to have; also when nothing renews it any more: the store was closed."""
        return self.wait_lost(0)

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lease is lost, at most so many seconds; return whether it is."""

        async def lost() -> bool:
            if timeout != 0 and not self._inner.lost:
                with suppress(TimeoutError):
                    async with asyncio.timeout(timeout):
                        await self._inner.wait_lost()
            return self._inner.lost

        try:
            return self._thread.call(lost)
        except (Unavailable, OutcomeUnknown):
            return True

    def __enter__(self) -> Self:
        """Begin to renew in the background."""
        self._thread.call(self._inner.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop renewing and revoke; when the store is out of reach or closed the TTL does it."""
        with suppress(Unavailable):
            self._thread.call(self._inner.__aexit__, None, None, None)

    def __repr__(self) -> str:
        """Show id, TTL and what is left."""
        return f"<sync.Lease of {self._inner!r}>"


class Feed(Generic[Item]):
    """The items of a watch or follow, for one consumer: an iterator that can also be asked with a timeout.

    It ends with `close`, at the end of a ``with``, and when nothing refers to it any more, as after a ``break``.
    Interrupted or timed out, it loses nothing: the next call gets the item.
    """

    def __init__(self, store: Store, source: AsyncGenerator[Item]) -> None:
        self._store = store
        self._thread = store._thread  # noqa: SLF001  (of one module)
        self._pump = _Pump(source)
        self._turn = threading.Lock()
        self._got = 0

    def next(self, timeout: float | None = None) -> Item:
        """Return the next item; blocks.

        Args:
            timeout: Seconds to wait at most; None: as long as it takes.

        Raises:
            TimeoutError: None came in time.
            StopIteration: The feed was closed.
            CoordError: As the asynchronous form.
        """
        self._thread.ensure_may_block()
        with self._turn:
            item = _END if self._pump.over else self._thread.call(self._pump.take, self._got, timeout)
            self._got += 1
        if item is _END:
            raise StopIteration
        return item  # type: ignore[return-value]  # _END is the only other one

    def close(self) -> None:
        """End the feed, also while another thread waits for its next item, which then ends its iteration."""
        with suppress(Unavailable):
            self._thread.call(self._pump.end)

    def __iter__(self) -> Self:
        """Return the feed itself."""
        return self

    def __next__(self) -> Item:
        """Return the next item, as `next`."""
        return self.next()

    def __enter__(self) -> Self:
        """Return the feed itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the feed."""
        self.close()

    def __del__(self) -> None:
        if not self._pump.over:
            self._thread.abandon(self._pump.end)

    def __repr__(self) -> str:
        """Show whether it is over."""
        return f"<sync.Feed {'closed' if self._pump.over else 'open'}>"


class _Pump:
    """The part of a feed that lives on the store's thread; it does not know the feed, which may go at any time."""

    def __init__(self, source: AsyncGenerator[Any]) -> None:
        self.over = False
        self._source = source
        self._task: asyncio.Task[Any] | None = None
        self._last: object = _END
        self._number = 0

    async def take(self, got: int, timeout: float | None) -> object:  # noqa: ASYNC109  (waiting is all it does)
        """Return the item behind the first `got` ones, _END behind the last; cancelled, it is there for the next call.

        Raises:
            TimeoutError: It did not come in time.
        """
        if self._number > got:
            return self._last
        if self._task is None:
            self._task = asyncio.create_task(_next_of(self._source), name="feed")
        task = self._task
        await asyncio.wait([task], timeout=timeout)
        if not task.done():
            message = f"nothing came within {timeout:g} s"
            raise TimeoutError(message)
        self._task = None
        self._last = _END if task.cancelled() else task.result()
        self._number += 1
        self.over = self._last is _END
        return self._last

    async def end(self) -> None:
        """Close the source; a wait for its next item is cancelled first."""
        self.over = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._source.aclose()


async def _next_of(source: AsyncGenerator[Any]) -> object:
    return await anext(source, _END)
