"""What a store can be asked to do, one deed after the other, and what must be there whatever became of each of them.

Deeds come in groups, each with keys and streams of its own, so that what is to be expected of a group depends on its
deeds alone: it is what a memory store holds after those that were done. Time is a number: a minute for each deed.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.errors import CoordError, OutcomeUnknown, Unavailable
from coordstore.model import Append, Delete, Put
from coordstore.testing import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable

    from coordstore.store import StoreBase

__all__ = ["DEEDS", "MINUTE", "Deed", "Dial", "Seen", "attempted", "groups", "mismatch", "seen"]

MINUTE: Final = 60.0
LONG: Final = 100_000
SHORT: Final = 50
"""Seconds of leases: one that outlives everything here, and one that ends before the next deed."""
_MODELS: Final = ThreadPoolExecutor(1)


class Dial:
    """A clock that shows what it was set to, and sleeps in real time."""

    def __init__(self, time: float = 0.0) -> None:
        self.time = time

    def now(self) -> float:
        """Return what it was set to."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Sleep."""
        await asyncio.sleep(min(seconds, MINUTE))


class Deed(NamedTuple):
    """One call, or the calls that belong together: the group, whose name its keys begin with, and what is done."""

    group: str
    name: str
    act: Callable[[StoreBase, str], Awaitable[object]]


async def revision(store: StoreBase, key: str) -> int:
    """Return a key's revision, 0 when it is absent."""
    entry = await store.get(key)
    return entry.revision if entry else 0


async def swap(store: StoreBase, at: str) -> None:
    """Compare and set."""
    await store.put(f"{at}/a", b"2", expect=await revision(store, f"{at}/a"))


async def leased(store: StoreBase, at: str, ttl: int) -> None:
    """Put a key on a lease."""
    await store.put(f"{at}/l", b"leased", lease=await store.grant(ttl))


async def hung_on(store: StoreBase, at: str) -> int:
    """Return the lease that the key hangs on; when there is none now, nothing can be done with it."""
    entry = await store.get(f"{at}/l")
    if entry is None or entry.lease is None:
        message = "the key is not there (yet)"
        raise Unavailable(message)
    return entry.lease


async def revoke(store: StoreBase, at: str) -> None:
    """Revoke the lease."""
    await store.lease_revoke(await hung_on(store, at))


async def renew(store: StoreBase, at: str) -> None:
    """Renew it."""
    await store.lease_renew(await hung_on(store, at))


async def many(store: StoreBase, at: str, name: bytes) -> None:
    """Do a transaction with several keys and streams."""
    writes = [Put(f"{at}/{key}", name) for key in "abc"]
    await store.transact([*writes, Delete(f"{at}/d")], appends=[Append(f"{at}/{each}", name) for each in "sst"])


def put(store: StoreBase, at: str) -> Awaitable[object]:
    """Put."""
    return store.put(f"{at}/a", b"1")


def append(store: StoreBase, at: str) -> Awaitable[object]:
    """Append two records."""
    return store.append(f"{at}/s", [b"x", b"y" * 300])


DEEDS: Final = (
    Deed("one", "put", put),
    Deed("one", "swap", swap),
    Deed("one", "delete", lambda store, at: store.delete(f"{at}/a")),
    Deed("two", "create", lambda store, at: store.create(f"{at}/d", b"0")),
    Deed("two", "transact", lambda store, at: many(store, at, b"1")),
    Deed("two", "transact again", lambda store, at: many(store, at, b"2")),
    Deed("three", "append", append),
    Deed("three", "trim", lambda store, at: store.trim(f"{at}/s", 1)),
    Deed("three", "append again", append),
    Deed("lease", "grant", lambda store, at: leased(store, at, LONG)),
    Deed("lease", "renew", renew),
    Deed("lease", "revoke", revoke),
    Deed("short", "expire", lambda store, at: leased(store, at, SHORT)),
    Deed("big", "long value", lambda store, at: store.put(f"{at}/a", b"z" * 20_000)),
    Deed("-", "compact", lambda store, _: store.compact(keep=2)),
    Deed("drop", "append", append),
    Deed("drop", "drop", lambda store, at: store.drop(f"{at}/s")),
    Deed("drop", "append after", append),
    Deed("tree", "put", put),
    Deed("tree", "delete_prefix", lambda store, at: store.delete_prefix(at)),
    Deed("last", "resolvable", lambda store, at: store.transact([Put(f"{at}/a", b"1")], resolvable=True)),
    Deed("-", "compact all", lambda store, _: store.compact()),
    Deed("last", "append", append),
)

Seen = dict[str, object]


async def seen(store: StoreBase, under: str) -> dict[str, Seen]:
    """Return what a store holds, by group: keys with their values and whether they hang on a lease; streams."""
    found: dict[str, Seen] = {name: {} for name in groups()}
    for entry in (await store.list(under)).entries:
        found[entry.key.split("/")[1]][entry.key] = (entry.value, bool(entry.lease))
    for stream, head in (await store.heads(under)).items():
        after = 1 if "/three/" in stream and await trimmed(store, stream) else 0
        records = await store.read(stream, after)
        found[stream.split("/")[1]][f"{stream}:"] = (head, after, [(each.sequence, each.data) for each in records])
    return found


async def trimmed(store: StoreBase, stream: str) -> bool:
    """Tell whether the first record is gone."""
    try:
        await store.read(stream, 0, 1)
    except LookupError:
        return True
    return False


def groups() -> list[str]:
    """Return the names of the groups."""
    return sorted({deed.group for deed in DEEDS})


async def attempted(store: StoreBase, dial: Dial, number: int, under: str, base: float = 0.0) -> str:
    """Do a deed at its time, counted from another one.

    Returns:
        ``ok``, ``refused`` or ``unknown``; any other error as it is.
    """
    deed = DEEDS[number]
    dial.time = max(dial.time, base + MINUTE * (number + 1))
    try:
        await deed.act(store, f"{under}/{deed.group}")
    except OutcomeUnknown:
        return "unknown"
    except CoordError as error:
        return "refused" if isinstance(error, (ConnectionError, TimeoutError)) else repr(error).replace(" ", "_")
    return "ok"


@functools.cache
def expected(under: str, done: tuple[int, ...], time: float) -> dict[str, Seen]:
    """Return what is there after some deeds, at a time."""
    # On a loop of its own: who asks may be inside one.
    return _MODELS.submit(asyncio.run, _expected(under, done, time)).result()


async def _expected(under: str, done: tuple[int, ...], time: float) -> dict[str, Seen]:
    dial = Dial()
    async with MemoryStore(clock=dial) as store:
        for number in done:
            await attempted(store, dial, number, under)
        dial.time = max(dial.time, time)
        return await seen(store, under)


def mismatch(
    found: dict[str, Seen], under: str, done: Collection[int], unsure: Collection[int], time: float
) -> list[str]:
    """Return the groups that hold what they cannot, given the deeds that were done and those nobody is sure of."""
    wrong = []
    for group in groups():
        ours = [number for number in sorted({*done, *unsure}) if DEEDS[number].group == group]
        options = [expected(under, some, time)[group] for some in _subsets(ours, set(unsure))]
        if found[group] not in options:
            names = {DEEDS[number].name: "unsure" if number in unsure else "done" for number in ours}
            wrong.append(f"{under}/{group}: {str(found[group])[:300]} after {names}")
    return wrong


def _subsets(ours: list[int], unsure: set[int]) -> Iterable[tuple[int, ...]]:
    open_ = [number for number in ours if number in unsure]
    for count in range(len(open_), -1, -1):
        for gone in itertools.combinations(open_, len(open_) - count):
            yield tuple(number for number in ours if number not in gone)
