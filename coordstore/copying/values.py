"""The values of a copy: a cut of the source, the steps that lead to it, the report, and what can be wrong."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, TypeAlias

from coordstore.errors import CoordError
from coordstore.names import under

if TYPE_CHECKING:
    from coordstore.model import Entry, Record, StoreInfo
    from coordstore.store import CoordStore

__all__ = [
    "COPIES",
    "Changes",
    "CopyDiffers",
    "CopyRefused",
    "CopyReport",
    "Cut",
    "Drop",
    "Keep",
    "Skip",
    "Step",
    "belongs",
    "is_ours",
]

COPIES: Final = "@copy"
"""Where a destination notes which copies write to it."""
_NOT_COPIED: Final = (COPIES, "@ops")
"""Keys of copies, and the slots of resolvable transactions, which belong to their store's clients."""


class CopyRefused(CoordError, ValueError):
    """The destination must not be written to: it holds something else, or another copy is at work there."""

    hint: ClassVar[str] = "Copy into an empty store, or resume the copy that is there."


class CopyDiffers(CoordError, RuntimeError):
    """The copy was made but is not equal to its source: somebody else writes to the destination."""

    hint: ClassVar[str] = "Copy again; while something else writes into the destination it cannot become equal."


@dataclass(frozen=True, slots=True)
class Changes:
    """What one revision of the source did, or a part of its full state.

    Args:
        writes: Keys with their new values; None: deleted.
        records: Records, in order.
        position: The revision that the source's watch goes on from, once this is there; None: as before.
    """

    writes: dict[str, bytes | None]
    records: list[Record]
    position: int | None = None


@dataclass(frozen=True, slots=True)
class Skip:
    """The records of a stream up to a sequence are gone from the source."""

    stream: str
    upto: int


@dataclass(frozen=True, slots=True)
class Drop:
    """A stream is gone from the source, or was begun anew there."""

    stream: str


@dataclass(frozen=True, slots=True)
class Keep:
    """The full state has been told: keys other than these are gone from the source."""

    keys: frozenset[str]
    position: int


Step: TypeAlias = Changes | Skip | Drop | Keep
"""What is to be done to the destination next."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What a store holds at one revision, as far as it is to be copied.

    Args:
        revision: The revision.
        keys: Each key's revision and the digest of its value.
        heads: Each stream's head, then or a moment later: records carry their revisions.
        leased: Keys that hang on leases.
    """

    revision: int
    keys: dict[str, tuple[int, bytes]]
    heads: dict[str, int]
    leased: tuple[str, ...] = ()

    @classmethod
    async def of(cls, store: CoordStore, *, with_leased: bool, digests: bool = True) -> Cut:
        """Take a cut of a store; without digests, values are not read."""
        listing = await store.list(keys_only=not digests)
        entries = [entry for entry in listing.entries if not is_ours(entry.key)]
        # Hashing a large store would hold up the loop, and with it the renewal of leases.
        keys = await asyncio.to_thread(_digests, entries, with_leased=with_leased)
        leased = tuple(entry.key for entry in entries if entry.lease is not None)
        return cls(listing.revision, keys, await store.heads(), leased)


def _digests(entries: list[Entry], *, with_leased: bool) -> dict[str, tuple[int, bytes]]:
    return {
        entry.key: (entry.revision, hashlib.sha256(entry.value).digest())
        for entry in entries
        if belongs(entry, with_leased=with_leased)
    }


@dataclass(frozen=True, slots=True)
class CopyReport:
    """What a copy came to.

    Args:
        source: The source.
        target: The destination.
        revision: The source's revision at which both were compared and found equal.
        keys: How many keys.
        streams: How many streams.
        records: How many records are readable in them.
        digest: Of all of that: equal for equal contents, whatever the backend.
        copied: Keys and records that were written on the way.
        leased: The source's keys on leases: left out, or copied as plain keys.
        with_leased: Which of the two.
        resumed: Whether the copy went on with an earlier one.
    """

    source: StoreInfo
    target: StoreInfo
    revision: int
    keys: int
    streams: int
    records: int
    digest: str
    copied: int
    leased: tuple[str, ...] = field(default=())
    with_leased: bool = False
    resumed: bool = False


def belongs(entry: Entry, *, with_leased: bool) -> bool:
    """Tell whether a key is to be copied."""
    return not is_ours(entry.key) and (with_leased or entry.lease is None)


def is_ours(key: str) -> bool:
    """Tell whether a key is of a store's own copies or clients, and stays where it is."""
    return any(under(prefix, key) for prefix in _NOT_COPIED)
