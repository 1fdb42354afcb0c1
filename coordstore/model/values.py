"""What a store keeps, tells and takes in, as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "Append",
    "Batch",
    "Change",
    "Check",
    "Committed",
    "Delete",
    "Entry",
    "HasId",
    "LeaseInfo",
    "Listing",
    "Put",
    "Record",
    "Resolution",
    "StoreInfo",
]


@runtime_checkable
class HasId(Protocol):
    """Whatever names a lease by its id: a `Lease`, a `LeaseInfo`."""

    @property
    def id(self) -> int:
        """The lease's id."""


class Entry(NamedTuple):
    """A key as it stood at one revision.

    Args:
        key: Its name.
        value: Its bytes (empty in a ``keys_only`` listing).
        revision: The transaction that wrote it last.
        create_revision: The transaction that made it; a later put keeps it. It is the fencing token.
        lease: Id of the lease it hangs on, or None.
    """

    key: str
    value: bytes
    revision: int
    create_revision: int
    lease: int | None = None


class Listing(NamedTuple):
    """One consistent cut of a prefix: all entries as they stood at `revision`, sorted by key.

    Args:
        revision: The store's revision at the cut; `watch(prefix, since=revision)` goes on from here.
        entries: The entries, sorted by key.
        more: True when `limit` cut the list; ask again with ``after=entries[-1].key``.
    """

    revision: int
    entries: list[Entry]
    more: bool = False


class Put(NamedTuple):
    """Write a key; without a lease, one that it hung on before is let go.

    Args:
        key: Its name.
        value: Its bytes.
        lease: A lease or its id; the key vanishes when that ends.
    """

    key: str
    value: bytes
    lease: HasId | int | None = None


class Delete(NamedTuple):
    """Remove a key; of an absent one: nothing."""

    key: str


@dataclass(frozen=True, slots=True)
class Check:
    """A condition on one key: its revision, its create revision, or both; 0 means absent.

    Args:
        key: Its name.
        revision: The revision it must have.
        create_revision: The create revision it must have.
    """

    key: str
    revision: int | None = field(default=None, kw_only=True)
    create_revision: int | None = field(default=None, kw_only=True)

    def holds(self, revision: int, create_revision: int) -> bool:
        """Tell whether a key with these revisions (0, 0: absent) meets the condition."""
        return self.revision in (None, revision) and self.create_revision in (None, create_revision)


class Append(NamedTuple):
    """Add one record at the end of a stream."""

    stream: str
    data: bytes


class Change(NamedTuple):
    """What a transaction did to one key.

    Args:
        key: Its name.
        entry: The key after the transaction; None: deleted (or its lease ended).
    """

    key: str
    entry: Entry | None


class Batch(NamedTuple):
    """What a watch delivers: one whole transaction, or a part of a reset.

    Args:
        revision: The transaction's revision; in a reset, the revision of the cut.
        reset: Forget what you knew of the prefix at the first of these, then take the entries of all parts.
        complete: What has been delivered is consistent up to `revision`; False only between parts of a reset.
        changes: The keys under the prefix, in the order of the transaction's writes; each key once.
    """

    revision: int
    reset: bool = False
    complete: bool = True
    changes: Sequence[Change] = ()


class Record(NamedTuple):
    """One record of a stream.

    Args:
        stream: The stream's name.
        sequence: 1, 2, 3 … without a gap within the stream.
        revision: The transaction that appended it.
        data: Its bytes.
    """

    stream: str
    sequence: int
    revision: int
    data: bytes


class LeaseInfo(NamedTuple):
    """A lease as the store sees it.

    Args:
        id: Its id.
        ttl: Seconds it lives after a renewal.
        remaining: Seconds until it ends unless renewed; 0 or less: due, not yet committed.
        keys: The keys that hang on it.
    """

    id: int
    ttl: int
    remaining: float
    keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """What a store is and what it promises, as data.

    Args:
        store_id: Random at creation and for ever this store's.
        scheme: The backend's URL scheme.
        url: The URL without secrets.
        revision: The store's revision now.
        floor: The compaction floor: changes at or below this revision are forgotten.
        durability: ``full`` (survives power loss), ``process`` (survives kill -9) or ``none``.
        format: Version of the stored format.
        abilities: Names of what this backend can do beyond the contract: ``persistent``, ``processes``
            (several on one host), ``hosts`` (several hosts). The conformance suite skips on these only.
        details: Backend-specific facts for people (paths, versions, sizes); no part of a comparison.
    """

    store_id: str
    scheme: str
    url: str
    revision: int
    floor: int
    durability: str
    format: int
    abilities: frozenset[str] = frozenset()
    details: Mapping[str, Any] = field(default_factory=dict, compare=False)


class Resolution(NamedTuple):
    """The fate of a transaction whose outcome was unknown; true when it was applied.

    Args:
        applied: It took effect; False: it never will.
        revision: Its revision when it was applied, else None.
    """

    applied: bool
    revision: int | None = None

    def __bool__(self) -> bool:
        """Return `applied`."""
        return self.applied


class Committed(NamedTuple):
    """What a backend says of a transaction that was applied.

    Args:
        revision: Its revision; the store's, when it changed nothing.
        deleted: How many keys it removed.
        heads: For each stream appended to, the last sequence.
    """

    revision: int
    deleted: int = 0
    heads: Mapping[str, int] = MappingProxyType({})
