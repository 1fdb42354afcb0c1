"""What all topics of the conformance suite share: the fixtures a backend overrides, and readers with a deadline."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, ClassVar, Generic, Self, TypeAlias, TypeVar

import pytest
import pytest_asyncio

from coordstore.errors import CoordError
from coordstore.model import Batch, Entry, Listing, Put
from coordstore.names import TRANSACTION_WRITES_MAX
from coordstore.store import CoordStore, Lease, SystemClock

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
    from types import TracebackType

__all__ = ["Advance", "Feed", "Mirror", "OpenStore", "Topic", "keys_of", "put_all", "together"]

OpenStore: TypeAlias = Callable[[], AbstractAsyncContextManager[CoordStore]]
"""Opens one more handle on the store of the test; the store is empty at the first call."""
Advance: TypeAlias = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass on the clock that the store counts leases on."""

Item = TypeVar("Item")
Result = TypeVar("Result")


@pytest.mark.asyncio
class Topic:
    """Base of the topics.

    A backend overrides `open_store`, and `advance` when its time is virtual; nothing else is needed.

    Attributes:
        patience: Seconds after which waiting for something that must come is a failure.
        deadline: Seconds after which a test that still runs has failed: no store may hang the suite.
        slack: Seconds behind a lease's end after which the store must have ended it, at the next write.
    """

    patience: ClassVar[float] = 10.0
    deadline: ClassVar[float] = 50.0
    slack: ClassVar[float] = 0.25

    def __init_subclass__(cls) -> None:
        """Give every test of the class its deadline."""
        super().__init_subclass__()
        for name, test in list(vars(cls).items()):
            if name.startswith("test_") and inspect.iscoroutinefunction(test):
                setattr(cls, name, _limited(test))

    @pytest.fixture
    def open_store(self) -> OpenStore:
        """Return the opener of handles on one store, which is empty at first; every backend overrides this."""
        message = f"{type(self).__name__} must override the fixture `open_store`"
        raise NotImplementedError(message)

    @pytest.fixture
    def advance(self) -> Advance:
        """Return what lets time pass: by default it waits for real time."""
        return SystemClock().sleep

    @pytest_asyncio.fixture
    async def store(self, open_store: OpenStore) -> AsyncIterator[CoordStore]:
        """Open the first handle on the store."""
        async with open_store() as store:
            yield store

    @pytest_asyncio.fixture
    async def other(self, open_store: OpenStore, store: CoordStore) -> AsyncIterator[CoordStore]:
        """Open a second handle on the same store."""
        async with open_store() as other:
            yield other

    def feed(self, source: AsyncGenerator[Item]) -> Feed[Item]:
        """Return a reader of a watch or follow that waits at most `patience` for each item."""
        return Feed(source, self.patience)

    async def soon(self, awaitable: Awaitable[Result]) -> Result:
        """Await something that must not take longer than `patience`."""
        async with asyncio.timeout(self.patience):
            return await awaitable

    async def outlive(self, lease: Lease, advance: Advance) -> None:
        """Let a lease's whole TTL pass, and the slack."""
        await advance(lease.ttl + self.slack)


class Feed(Generic[Item]):
    """A reader of a watch or follow that fails instead of hanging; ``async with`` closes the source."""

    def __init__(self, source: AsyncGenerator[Item], patience: float) -> None:
        self._source = source
        self._patience = patience

    async def __aenter__(self) -> Self:
        """Return the reader."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the source."""
        await self._source.aclose()

    async def next(self) -> Item:
        """Return the next item.

        Raises:
            TimeoutError: None came in time.
        """
        async with asyncio.timeout(self._patience):
            return await anext(self._source)

    async def take(self, count: int) -> list[Item]:
        """Return the next so many items."""
        return [await self.next() for _ in range(count)]

    async def until(self, last: Callable[[Item], bool]) -> list[Item]:
        """Return the items up to and including the first one that `last` accepts."""
        items = [await self.next()]
        while not last(items[-1]):
            items.append(await self.next())
        return items


class Mirror:
    """A copy of a prefix kept by its watch, which asserts a watch's rules of order on the way.

    Args:
        listed: The entries and revision that the watch goes on from; nothing when it begins with a reset.
    """

    def __init__(self, revision: int = 0, entries: list[Entry] | None = None) -> None:
        self.revision = revision
        self.entries = {entry.key: entry for entry in entries or ()}
        self.resets = 0
        self.revisions: list[int] = []
        self._in_reset = False

    def take(self, batch: Batch) -> None:
        """Apply a batch."""
        keys = [change.key for change in batch.changes]
        assert len(set(keys)) == len(keys), "a batch names a key twice"
        if batch.reset:
            self._begin_reset(batch)
        else:
            assert not self._in_reset, "a change came between the parts of a reset"
            assert batch.complete, "only a part of a reset is incomplete"
            assert batch.changes, "a batch without changes"
            assert batch.revision > self.revision, "batches are not in revision order, or one was split"
            self.revisions.append(batch.revision)
        for change in batch.changes:
            self.entries.pop(change.key, None)
            if change.entry is not None:
                assert change.entry.revision <= batch.revision
                self.entries[change.key] = change.entry
        self.revision = batch.revision

    def _begin_reset(self, batch: Batch) -> None:
        if self._in_reset:
            assert batch.revision == self.revision, "the parts of a reset are of two cuts"
        else:
            assert batch.revision >= self.revision, "a reset went back in time"
            self.entries.clear()
            self.resets += 1
        self._in_reset = not batch.complete


def _limited(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def limited(self: Topic, *args: object, **fixtures: object) -> None:
        async with asyncio.timeout(self.deadline):
            await test(self, *args, **fixtures)

    return limited


async def together(*work: Coroutine[object, object, Result]) -> list[Result | CoordError]:
    """Run coroutines at once; return each one's result, or the library's error it raised."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException) and not isinstance(result, CoordError):
            raise result
    return results  # type: ignore[return-value]  # the loop above leaves no other exceptions


async def put_all(store: CoordStore, *keys: str) -> None:
    """Put keys, each with its own name as the value, in as few transactions as can be."""
    for at in range(0, len(keys), TRANSACTION_WRITES_MAX):
        await store.transact([Put(key, key.encode()) for key in keys[at : at + TRANSACTION_WRITES_MAX]])


def keys_of(listing: Listing) -> list[str]:
    """Return the keys of a listing in its order."""
    return [entry.key for entry in listing.entries]
