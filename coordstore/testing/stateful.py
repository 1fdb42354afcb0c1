"""A Hypothesis state machine that compares any store, step by step, with MemoryStore as the model.

Each step does one operation on both and compares what they returned or raised. Revisions need not be equal, for
they are not dense: the machine learns after each step which revision of the store belongs to which of the model,
demands that both grow together, and reads the model's answers in the store's numbers. Lease ids likewise. Where
the store is shared by others (its ability `hosts`), its number may grow without the model's, never the reverse.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeAlias, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from coordstore.errors import CoordError
from coordstore.model import Append, Batch, Check, Delete, Put, Record
from coordstore.testing.memory import MemoryStore
from coordstore.testing.side import Returned, Side

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from coordstore.store import CoordStore

__all__ = ["OpenFresh", "check_against_memory"]

OpenFresh: TypeAlias = Callable[[], AbstractAsyncContextManager["CoordStore"]]
"""Opens a new, empty store at each call."""

NAMES: Final = ["a", "a/b", "a/b/c", "a1", "a10", "a10/x", "b"]
PATIENCE: Final = 20.0

_names = st.sampled_from(NAMES)
_prefixes = st.sampled_from(["", *NAMES, *(name + "/" for name in NAMES)])
_data = st.binary(max_size=3)
_few = st.integers(0, 4)
_wishes = st.sampled_from(["any", "any", "any", "current", "absent", "past", "future"])
_writes = st.lists(st.tuples(_names, st.none() | _data, st.none() | _few), max_size=4, unique_by=lambda write: write[0])
_checks = st.lists(st.tuples(_names, _wishes, st.booleans()), max_size=2, unique_by=lambda check: check[0])
_appends = st.lists(st.tuples(_names, _data), max_size=3)


_Item = TypeVar("_Item")
Operation: TypeAlias = Callable[[Side], Awaitable[Any]]


class _StoreMachine(RuleBasedStateMachine):
    """The machine; `check_against_memory` runs it."""

    open_fresh: ClassVar[OpenFresh]

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._open = AsyncExitStack()
        self._past = [0]
        self._model, self._real = self._run(self._opened())

    async def _opened(self) -> tuple[Side, Side]:
        model = Side(await self._open.enter_async_context(MemoryStore()))
        real = Side(await self._open.enter_async_context(type(self).open_fresh()))
        real.revisions[0] = (await real.store.list(limit=1)).revision
        self._shared = "hosts" in (await real.store.info()).abilities
        return model, real

    def teardown(self) -> None:
        """Close both stores."""
        self._run(self._open.aclose())
        self._runner.close()

    def _run(self, work: Coroutine[object, object, Any]) -> Any:  # noqa: ANN401  (whatever the operation returns)
        return self._runner.run(work)

    # --- comparing --------------------------------------------------------------------------------------

    def _both(self, operation: Operation) -> None:
        """Do an operation on both sides and compare what came of it."""
        self._run(self._compare(operation))

    async def _compare(self, operation: Operation) -> None:
        mine = await self._outcome(operation, self._model)
        theirs = await self._outcome(operation, self._real)
        await self._learn()
        to_real = self._real.revisions
        same = {number: number for number in to_real.values()} | self._real.aliases
        assert self._real.plain(theirs, same) == self._model.plain(mine, to_real)

    @staticmethod
    async def _outcome(operation: Operation, side: Side) -> object:
        try:
            async with asyncio.timeout(PATIENCE):
                return await operation(side)
        except CoordError as error:
            return error

    async def _learn(self) -> None:
        """Take in which revision belongs to which; both must have grown, or none."""
        mine = (await self._model.store.list(limit=1)).revision
        theirs = (await self._real.store.list(limit=1)).revision
        last = self._past[-1]
        grown = theirs > self._real.position(last)
        if grown and mine == last and self._shared:
            self._real.aliases[theirs] = self._real.revisions[last]
            return
        assert grown == (mine > last), "one took a revision, the other did not"
        if mine > last:
            self._past.append(mine)
            self._model.revisions[mine], self._real.revisions[mine] = mine, theirs

    def _expected(self, key: str, wish: str, *, created: bool = False) -> int | None:
        """Return a revision of the model that a check shall ask for."""
        entry = self._run(self._model.store.get(key))
        current = (entry.create_revision if created else entry.revision) if entry else 0
        numbers = {"any": None, "current": current, "absent": 0, "past": self._past[len(self._past) // 2]}
        return numbers.get(wish, self._past[-1] + 1)

    # --- writing ----------------------------------------------------------------------------------------

    @rule(key=_names, value=_data, wish=_wishes, lease=st.none() | _few)
    def put(self, key: str, value: bytes, wish: str, lease: int | None) -> None:
        """Put a key, expecting what is wished."""
        expect = self._expected(key, wish)

        async def operation(side: Side) -> Returned:
            mine = None if expect is None else side.revision(expect)
            return Returned(await side.store.put(key, value, expect=mine, lease=side.lease(lease)))

        self._both(operation)

    @rule(key=_names, wish=_wishes)
    def delete(self, key: str, wish: str) -> None:
        """Delete a key, expecting what is wished."""
        expect = self._expected(key, wish)
        self._both(lambda side: side.store.delete(key, expect=None if expect is None else side.revision(expect)))

    @rule(writes=_writes, checks=_checks, appends=_appends, holder=st.none() | st.tuples(_names, _wishes))
    def transact(
        self,
        writes: list[tuple[str, bytes | None, int | None]],
        checks: list[tuple[str, str, bool]],
        appends: list[tuple[str, bytes]],
        holder: tuple[str, str] | None,
    ) -> None:
        """Do a transaction of everything."""
        wanted = [(key, self._expected(key, wish, created=created), created) for key, wish, created in checks]
        token = self._expected(*holder, created=True) if holder else None

        async def operation(side: Side) -> Returned:
            made: list[Put | Delete] = [
                Delete(key) if value is None else Put(key, value, side.lease(lease)) for key, value, lease in writes
            ]
            asked = [
                Check(key, create_revision=side.revision(n)) if created else Check(key, revision=side.revision(n))
                for key, n, created in wanted
                if n is not None
            ]
            fence = (holder[0], side.revision(token)) if holder and token else None
            added = [Append(stream, data) for stream, data in appends]
            return Returned(await side.store.transact(made, asked, added, fence))

        self._both(operation)

    @rule(prefix=_prefixes)
    def delete_prefix(self, prefix: str) -> None:
        """Delete what a prefix covers."""
        self._both(lambda side: side.store.delete_prefix(prefix))

    @rule(stream=_names, records=st.lists(_data, min_size=1, max_size=4))
    def append(self, stream: str, records: list[bytes]) -> None:
        """Append records."""
        self._both(lambda side: side.store.append(stream, records))

    @rule(stream=_names, upto=st.integers(0, 8))
    def trim(self, stream: str, upto: int) -> None:
        """Trim a stream; it may take a revision or not."""
        self._both(lambda side: side.store.trim(stream, upto))

    @rule(stream=_names)
    def drop(self, stream: str) -> None:
        """Drop a stream."""
        self._both(lambda side: side.store.drop(stream))

    @initialize()
    def begin_with_leases(self) -> None:
        """Grant leases, so that keys hang on some from the first step."""
        self.grant()
        self.grant()

    @precondition(lambda self: len(self._model.leases) < 5)
    @rule()
    def grant(self) -> None:
        """Grant a lease."""

        async def operation(side: Side) -> None:
            side.leases.append(await side.store.grant(3600))

        self._both(operation)

    @precondition(lambda self: self._model.leases)
    @rule(lease=_few)
    def revoke(self, lease: int) -> None:
        """Revoke a lease, perhaps once more."""

        async def operation(side: Side) -> None:
            chosen = side.lease(lease)
            assert chosen is not None
            await chosen.revoke()

        self._both(operation)

    @rule()
    def compact(self) -> None:
        """Forget the history."""

        async def operation(side: Side) -> Returned:
            return Returned(await side.store.compact())

        self._both(operation)

    # --- reading ----------------------------------------------------------------------------------------

    @invariant()
    def same_state(self) -> None:
        """Both hold the same keys and heads."""
        self._both(lambda side: side.store.list())
        self._both(lambda side: side.store.heads())

    @rule(prefix=_prefixes, limit=st.none() | st.integers(1, 4), after=st.none() | _names, keys_only=st.booleans())
    def list_page(self, prefix: str, limit: int | None, after: str | None, keys_only: bool) -> None:  # noqa: FBT001  (drawn)
        """List a page."""
        self._both(lambda side: side.store.list(prefix, limit, after, keys_only))

    @rule(stream=_names, after=st.integers(0, 6), limit=st.none() | st.integers(1, 3))
    def read(self, stream: str, after: int, limit: int | None) -> None:
        """Read a stream."""
        self._both(lambda side: side.store.read(stream, after, limit))

    @rule(prefix=_prefixes)
    def heads(self, prefix: str) -> None:
        """Read the heads under a prefix."""
        self._both(lambda side: side.store.heads(prefix))

    @rule(prefix=_prefixes, at=st.none() | st.integers(0, 60))
    def watch(self, prefix: str, at: int | None) -> None:
        """Watch from the beginning or from a revision of the past until now."""
        since = None if at is None else self._past[at % len(self._past)]
        last = _below(prefix)

        async def mark(side: Side) -> Returned:
            return Returned(await side.store.put(last, b"end"))

        async def operation(side: Side) -> list[Batch]:
            now = side.revision(self._past[-1])
            source = side.store.watch(prefix, None if since is None else side.position(since))
            return _whole_resets(await _until(source, lambda batch: batch.complete and batch.revision >= now))

        self._both(mark)
        self._both(operation)

    @rule(prefix=_prefixes, after=st.dictionaries(_names, st.integers(0, 5), max_size=2))
    def follow(self, prefix: str, after: dict[str, int]) -> None:
        """Follow from a cursor until now."""
        last = _below(prefix)
        self._both(lambda side: side.store.append(last, [b"end"]))
        head = self._run(self._model.store.heads(last))[last]

        async def operation(side: Side) -> list[Record]:
            source = side.store.follow(prefix, after)
            return await _until(source, lambda record: (record.stream, record.sequence) == (last, head))

        self._both(operation)


def _below(prefix: str) -> str:
    """Return a name under a prefix that no other step uses."""
    return f"{prefix.rstrip('/')}/end" if prefix else "end"


async def _until(source: AsyncGenerator[_Item], last: Callable[[_Item], bool]) -> list[_Item]:
    """Return what a watch or follow delivers up to its last item, and close it."""
    items: list[_Item] = []
    async with aclosing(source):
        async for item in source:
            items.append(item)
            if last(item):
                break
    return items


def _whole_resets(batches: list[Batch]) -> list[Batch]:
    """Join the parts of resets: how many there are is the backend's choice."""
    whole: list[Batch] = []
    for batch in batches:
        if whole and not whole[-1].complete:
            part = whole.pop()
            whole.append(batch._replace(changes=[*part.changes, *batch.changes]))
        else:
            whole.append(batch)
    return whole


def check_against_memory(
    open_fresh: OpenFresh,
    *,
    examples: int = 50,
    steps: int = 30,
    **options: Any,  # noqa: ANN401  (handed through)
) -> None:
    """Compare a store with MemoryStore over generated sequences of operations; blocking, from a test without a loop.

    Args:
        open_fresh: Opens a new, empty store at each call.
        examples: How many sequences to try.
        steps: How many operations in each, at most.
        options: Other settings of Hypothesis.

    Raises:
        AssertionError: The stores differ; Hypothesis prints the shortest sequence it found.
    """
    machine = type("StoreMachine", (_StoreMachine,), {"open_fresh": staticmethod(open_fresh)})
    wanted = settings(
        max_examples=examples,
        stateful_step_count=steps,
        suppress_health_check=list(HealthCheck),
        **{"deadline": None, "database": None, **options},
    )
    run_state_machine_as_test(machine, settings=wanted)
