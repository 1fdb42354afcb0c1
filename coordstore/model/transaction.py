"""What is asked of a backend at once, and everything about it that can be checked without a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from coordstore import names
from coordstore.errors import InvalidArgument, TooLarge
from coordstore.model.values import Append, Check, Delete, HasId, Put

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Transaction", "lease_id"]


class Transaction(NamedTuple):
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
    def putting(
        cls,
        key: str,
        value: bytes,
        expect: int | None = None,
        lease: HasId | int | None = None,
        fence: Check | tuple[str, int] | None = None,
    ) -> Transaction:
        """Check a transaction that writes one key: what is asked for most often, and never too large as a whole.

        Raises:
            InvalidKey, InvalidArgument, TooLarge: As `of` says.
        """
        put = Put(names.check_key(key), names.check_value(value), None if lease is None else lease_id(lease))
        checks = () if expect is None else (_checked_check(Check(key, revision=expect)),)
        return cls((put,), checks, (), None if fence is None else _checked_fence(fence))

    @classmethod
    def appending(
        cls, stream: str, records: Iterable[bytes], fence: Check | tuple[str, int] | None = None
    ) -> Transaction:
        """Check a transaction that only adds records to one stream: likewise asked for often.

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
