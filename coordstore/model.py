"""The frozen values that go in and out of a store; nothing here does I/O or knows the time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from coordstore import names
from coordstore.errors import InvalidArgument, TooLarge

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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
    "Transaction",
]


@runtime_checkable
class HasId(Protocol):
    """Whatever names a lease by its id: a `Lease`, a `LeaseInfo`."""

    @property
    def id(self) -> int:
        """The lease's id."""


@dataclass(frozen=True, slots=True)
class Entry:
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


@dataclass(frozen=True, slots=True)
class Listing:
    """One consistent cut of a prefix: all entries as they stood at `revision`, sorted by key.

    Args:
        revision: The store's revision at the cut; `watch(prefix, since=revision)` goes on from here.
        entries: The entries, sorted by key.
        more: True when `limit` cut the list; ask again with ``after=entries[-1].key``.
    """

    revision: int
    entries: list[Entry]
    more: bool = False


@dataclass(frozen=True, slots=True)
class Put:
    """Write a key; without a lease, one that it hung on before is let go.

    Args:
        key: Its name.
        value: Its bytes.
        lease: A lease or its id; the key vanishes when that ends.
    """

    key: str
    value: bytes
    lease: HasId | int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
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


@dataclass(frozen=True, slots=True)
class Append:
    """Add one record at the end of a stream."""

    stream: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Change:
    """What a transaction did to one key.

    Args:
        key: Its name.
        entry: The key after the transaction; None: deleted (or its lease ended).
    """

    key: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Batch:
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
    changes: list[Change] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Record:
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


@dataclass(frozen=True, slots=True)
class LeaseInfo:
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


@dataclass(frozen=True, slots=True)
class Resolution:
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


@dataclass(frozen=True, slots=True)
class Committed:
    """What a backend says of a transaction that was applied.

    Args:
        revision: Its revision; the store's, when it changed nothing.
        deleted: How many keys it removed.
        heads: For each stream appended to, the last sequence.
    """

    revision: int
    deleted: int = 0
    heads: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A checked request to a backend: every name valid, every limit kept, leases as ids.

    Args:
        writes: Puts (with `lease` an int or None) and deletes; each key once.
        checks: Conditions on keys; each key once.
        appends: Records, in the order they get their sequences.
        fence: A condition whose failure is `Fenced` and not `Conflict`.
    """

    writes: tuple[Put | Delete, ...] = ()
    checks: tuple[Check, ...] = ()
    appends: tuple[Append, ...] = ()
    fence: Check | None = None

    @classmethod
    def of(
        cls,
        writes: Iterable[Put | Delete] = (),
        checks: Iterable[Check] = (),
        appends: Iterable[Append] = (),
        fence: Check | tuple[str, int] | None = None,
    ) -> Transaction:
        """Check everything about a transaction that can be checked without a store.

        Raises:
            InvalidKey: A key or stream is not in the allowed form.
            InvalidArgument: A key stands twice, a check has no condition, a lease or value has the wrong type.
            TooLarge: Too many writes or checks, or too many bytes.
        """
        made = cls(
            tuple([_checked_write(write) for write in writes]),
            tuple([_checked_check(check) for check in checks]),
            tuple([_checked_append(append) for append in appends]),
            _checked_fence(fence),
        )
        if len(made.writes) > 1:
            _check_once([write.key for write in made.writes], "writes")
        if len(made.checks) > 1:
            _check_once([check.key for check in made.checks], "checks")
        _check_sizes(made)
        return made

    @classmethod
    def appending(
        cls, stream: str, records: Iterable[bytes], fence: Check | tuple[str, int] | None = None
    ) -> Transaction:
        """Check a transaction that only adds records to one stream, which is what is asked for most often.

        Raises:
            InvalidKey, InvalidArgument, TooLarge: As `of` says.
        """
        name = names.check_stream(stream)
        appends, size = [], 0
        for data in records:
            record = names.check_record(data)
            appends.append(Append(name, record))
            size += len(name) + len(record)
        made = cls((), (), tuple(appends), None if fence is None else _checked_fence(fence))
        if size > names.TRANSACTION_BYTES_MAX or len(appends) > names.TRANSACTION_WRITES_MAX:
            _check_sizes(made)
        return made

    @property
    def size(self) -> int:
        """Bytes of all values and records."""
        size = 0
        for append in self.appends:
            size += len(append.data)
        for write in self.writes:
            if isinstance(write, Put):
                size += len(write.value)
        return size


def lease_id(lease: HasId | int | None) -> int | None:
    """Return a lease's id from whatever names it.

    Raises:
        InvalidArgument: It names none.
    """
    if lease is None:
        return None
    number = lease if isinstance(lease, int) else getattr(lease, "id", None)
    if isinstance(number, int) and not isinstance(number, bool) and number > 0:
        return number
    message = f"a lease is what grant() returned, or its id, not {lease!r}"
    raise InvalidArgument(message)


def _checked_write(write: object) -> Put | Delete:
    if isinstance(write, Put):
        key, value = names.check_key(write.key), names.check_value(write.value)
        if write.lease is None and value is write.value:
            return write
        return Put(key, value, lease_id(write.lease))
    if isinstance(write, Delete):
        names.check_key(write.key)
        return write
    message = f"writes are Put and Delete, not {type(write).__name__}"
    raise InvalidArgument(message)


def _checked_check(check: object) -> Check:
    if not isinstance(check, Check):
        message = f"checks are Check, not {type(check).__name__}"
        raise InvalidArgument(message)
    names.check_key(check.key)
    if check.revision is None and check.create_revision is None:
        message = f"the check of {check.key!r} has no condition: give revision= or create_revision="
        raise InvalidArgument(message)
    for number in (check.revision, check.create_revision):
        if number is not None:
            names.check_position(number, f"a revision in the check of {check.key!r}")
    return check


def _checked_append(append: object) -> Append:
    if not isinstance(append, Append):
        message = f"appends are Append, not {type(append).__name__}"
        raise InvalidArgument(message)
    return Append(names.check_stream(append.stream), names.check_record(append.data))


def _checked_fence(fence: object) -> Check | None:
    if fence is None:
        return None
    if isinstance(fence, tuple) and len(fence) == 2:  # noqa: PLR2004  (a pair)
        fence = Check(fence[0], create_revision=fence[1])
    check = _checked_check(fence)
    if not check.create_revision:
        message = f"the fence on {check.key!r} needs the create revision under which the key is held"
        raise InvalidArgument(message)
    return check


def _check_once(keys: Sequence[str], what: str) -> None:
    if len(set(keys)) != len(keys):
        twice = sorted({key for key in keys if keys.count(key) > 1})
        message = f"{what} name a key more than once: {', '.join(twice)}"
        raise InvalidArgument(message)


def _check_sizes(made: Transaction) -> None:
    writes = len(made.writes) + len(made.appends)
    if writes > names.TRANSACTION_WRITES_MAX:
        message = (
            f"a transaction has at most {names.TRANSACTION_WRITES_MAX} writes and appends, this one {writes}: split it"
        )
        raise TooLarge(message)
    if len(made.checks) > names.TRANSACTION_CHECKS_MAX:
        message = (
            f"a transaction has at most {names.TRANSACTION_CHECKS_MAX} checks, this one {len(made.checks)}: split it"
        )
        raise TooLarge(message)
    size = made.size
    for named in (made.writes, made.checks):
        if named:
            size += sum([len(one.key) for one in named])
    size += sum([len(append.stream) for append in made.appends])
    if size > names.TRANSACTION_BYTES_MAX:
        message = f"a transaction has at most {names.TRANSACTION_BYTES_MAX} bytes, this one {size}: split it"
        raise TooLarge(message)
