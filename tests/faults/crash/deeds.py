"""What workloads do, as data: performed on a store, and kept in a ledger that knows no store."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from coordstore.errors import Trimmed
from coordstore.model import Append, Delete, Put
from coordstore.store import SystemClock

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping

    from coordstore import CoordStore
    from coordstore.model import Record
    from coordstore.store.lease import Lease

Value = TypeVar("Value")
SOME = 9_000
"""Bytes of a value that lies on three pages."""


class Deed(NamedTuple):
    """One thing to do.

    Args:
        kind: A method of `Doer` and of `Ledger`.
        name: A key, a prefix, a stream or a lease.
        data: Bytes, if there are any.
        number: A sequence, a TTL, seconds, or revisions to keep.
        lease: The lease to hang a key on.
        puts: The keys of a transaction, with their values.
        appends: The streams of a transaction, with a record for each.
    """

    kind: str
    name: str = ""
    data: bytes = b""
    number: int = 0
    lease: str = ""
    puts: tuple[tuple[str, bytes], ...] = ()
    appends: tuple[tuple[str, bytes], ...] = ()


COMPACT = Deed("compact")


def put(key: str, value: bytes) -> Deed:
    """Return the deed of writing a key."""
    return Deed("put", key, value)


def append(stream: str, *records: bytes) -> Deed:
    """Return the deed of adding records to a stream, in one transaction."""
    return Deed("append", stream, appends=tuple((stream, record) for record in records))


def transact(puts: Mapping[str, bytes], *appends: tuple[str, bytes], kind: str = "transact") -> Deed:
    """Return the deed of writing several keys and records at once."""
    return Deed(kind, puts=tuple(puts.items()), appends=appends)


class ShiftedClock(SystemClock):
    """The machine's clock, put forward at will: leases end without anybody waiting."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def now(self) -> float:
        return super().now() + self.ahead


class Doer:
    """Performs deeds on a store.

    Args:
        store: The store.
        clock: Its clock.
    """

    def __init__(self, store: CoordStore, clock: ShiftedClock) -> None:
        self._store = store
        self._clock = clock
        self._leases: dict[str, Lease] = {}

    async def do(self, deed: Deed) -> None:
        """Perform one deed."""
        await getattr(self, f"_{deed.kind}")(deed)

    async def _put(self, deed: Deed) -> None:
        await self._store.put(deed.name, deed.data)

    async def _lease_put(self, deed: Deed) -> None:
        await self._store.put(deed.name, deed.data, lease=self._leases[deed.lease])

    async def _swap(self, deed: Deed) -> None:
        entry = await self._store.get(deed.name)
        await self._store.put(deed.name, deed.data, expect=entry.revision if entry else 0)

    async def _delete(self, deed: Deed) -> None:
        await self._store.delete(deed.name)

    async def _delete_prefix(self, deed: Deed) -> None:
        await self._store.delete_prefix(deed.name)

    async def _append(self, deed: Deed) -> None:
        await self._store.append(deed.name, [data for _, data in deed.appends])

    async def _transact(self, deed: Deed) -> None:
        await self._store.transact(
            [Put(key, value) for key, value in deed.puts],
            appends=[Append(stream, data) for stream, data in deed.appends],
            resolvable=deed.kind == "resolvable",
        )

    _resolvable = _transact

    async def _exchange(self, deed: Deed) -> None:
        writes: list[Put | Delete] = [Delete(deed.name), *(Put(key, value) for key, value in deed.puts)]
        await self._store.transact(writes, appends=[Append(stream, data) for stream, data in deed.appends])

    async def _trim(self, deed: Deed) -> None:
        await self._store.trim(deed.name, deed.number)

    async def _drop(self, deed: Deed) -> None:
        await self._store.drop(deed.name)

    async def _compact(self, deed: Deed) -> None:
        await self._store.compact(deed.number)

    async def _grant(self, deed: Deed) -> None:
        self._leases[deed.name] = await self._store.grant(deed.number)

    async def _revoke(self, deed: Deed) -> None:
        await self._leases[deed.name].revoke()

    async def _expire(self, deed: Deed) -> None:
        self._clock.ahead += deed.number
        await self._store.get("nothing")


@dataclass
class Stream:
    """A stream as it should be: its first sequence, and its records from there on."""

    first: int = 1
    records: list[bytes] = field(default_factory=list)


@dataclass
class Ledger:
    """What a store should hold after a reboot: no key that hung on a lease is left then."""

    keys: dict[str, bytes] = field(default_factory=dict)
    streams: dict[str, Stream] = field(default_factory=dict)

    def do(self, deed: Deed) -> None:
        """Take note of one deed."""
        match deed.kind:
            case "put" | "swap":
                self.keys[deed.name] = deed.data
            case "delete" | "lease_put":
                self.keys.pop(deed.name, None)
            case "delete_prefix":
                self.keys = {key: value for key, value in self.keys.items() if not covers(deed.name, key)}
            case "trim" if deed.name in self.streams:
                stream = self.streams[deed.name]
                gone = min(max(deed.number - stream.first + 1, 0), len(stream.records))
                self.streams[deed.name] = Stream(stream.first + gone, stream.records[gone:])
            case "drop":
                self.streams.pop(deed.name, None)
            case "exchange":
                self.keys.pop(deed.name, None)
        self.keys.update(deed.puts)
        for name, data in deed.appends:
            self.streams.setdefault(name, Stream()).records.append(data)

    def shown(self, prefix: str = "") -> Contents:
        """Return what a store should hold under a prefix."""
        streams = {
            name: tuple(enumerate(stream.records, stream.first)) for name, stream in under(prefix, self.streams).items()
        }
        heads = {name: each.first + len(each.records) - 1 for name, each in under(prefix, self.streams).items()}
        return Contents(under(prefix, self.keys), streams, heads)


class Contents(NamedTuple):
    """Keys with their values, streams with sequences and records, and their heads."""

    keys: dict[str, bytes]
    streams: dict[str, tuple[tuple[int, bytes], ...]]
    heads: dict[str, int]

    def part(self, prefix: str) -> Contents:
        """Return what lies under a prefix."""
        return Contents(under(prefix, self.keys), under(prefix, self.streams), under(prefix, self.heads))

    def told(self) -> str:
        """Return it in few words."""
        keys = ", ".join(f"{key}={value[:6]!r}×{len(value)}" for key, value in self.keys.items())
        streams = ", ".join(
            f"{name}@{self.heads.get(name)}:{[seq for seq, _ in found]}" for name, found in self.streams.items()
        )
        return f"[{keys}] [{streams}]"


def covers(prefix: str, name: str) -> bool:
    """Tell whether a prefix covers a name: as the contract says, at the border of a segment."""
    return not prefix or name == prefix or name.startswith(prefix if prefix.endswith("/") else f"{prefix}/")


def under(prefix: str, what: Mapping[str, Value]) -> dict[str, Value]:
    """Return the part of a dictionary that a prefix covers."""
    return {name: value for name, value in sorted(what.items()) if covers(prefix, name)}


async def contents(store: CoordStore) -> Contents:
    """Return what a store holds, read through its public surface."""
    keys = {entry.key: entry.value for entry in (await store.list()).entries}
    heads = await store.heads()
    streams = {name: tuple((record.sequence, record.data) for record in await whole(store, name)) for name in heads}
    return Contents(keys, streams, dict(sorted(heads.items())))


async def whole(store: CoordStore, stream: str) -> list[Record]:
    """Return all records of a stream that are still there."""
    after = 0
    with contextlib.suppress(Trimmed):
        return await store.read(stream)
    try:
        await store.read(stream)
    except Trimmed as error:
        after = error.first - 1
    return await store.read(stream, after)


def any_deed(chance: random.Random, number: int) -> Deed:
    """Return a deed by chance; `number` makes its bytes unlike all others."""
    key, stream = chance.choice(("a", "b", "a/x", "c/d/e")), chance.choice(("s", "t/u"))
    data = b"%d " % number + bytes([97 + number % 26]) * chance.choice((0, 10, 700, SOME))
    kind = chance.choices(
        ("put", "append", "transact", "swap", "delete", "exchange", "delete_prefix", "trim", "drop", "compact"),
        (6, 6, 6, 2, 2, 2, 1, 1, 1, 1),
    )[0]
    appends: tuple[tuple[str, bytes], ...] = ()
    if kind in ("append", "transact", "exchange"):
        appends = tuple((stream, data + b"%d" % nth) for nth in range(chance.randint(1, 3)))
    puts = ((f"k/{number % 5}", data), ("z", b"%d" % number)) if kind in ("transact", "exchange") else ()
    name = stream if kind in ("append", "trim", "drop") else key
    keep = chance.choice((0, 3, 1000)) if kind == "compact" else chance.randint(1, 9)
    return Deed(kind, name, data if kind in ("put", "swap") else b"", keep, "", puts, appends)
