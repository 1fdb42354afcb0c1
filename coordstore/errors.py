"""Every error of the library: one root, few leaves, each also the built-in it is.

A write ends in one of three ways, and the error says which: it returned (applied), it raised
`Conflict`, `Fenced`, `Unavailable` or a refusal of its arguments (certainly not applied), or it raised
`OutcomeUnknown` (it may have landed, or may still land).

All of them pickle and keep their details across it: details are attributes with defaults, the message
is the only positional argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Busy",
    "Conflict",
    "CoordError",
    "Corrupt",
    "Fenced",
    "ForkRefused",
    "InvalidArgument",
    "InvalidKey",
    "InvalidTransition",
    "LeaseLost",
    "NoStore",
    "OutcomeUnknown",
    "StoreClosed",
    "StoreReplaced",
    "TooLarge",
    "Trimmed",
    "Unavailable",
    "Unsupported",
    "VersionMismatch",
]


class CoordError(Exception):
    """Root of all errors that this library raises on purpose."""


class InvalidKey(CoordError, ValueError):
    """A key, prefix, stream or name is not in the allowed form; nothing was read or written."""


class InvalidArgument(CoordError, ValueError):
    """An argument cannot be right (a TTL of zero, one key twice in a transaction); nothing was done."""


class TooLarge(CoordError, ValueError):
    """A value, record or transaction is over its limit; refused before any I/O."""


class Conflict(CoordError):
    """A check did not hold: certainly not applied.

    Args:
        message: What was expected and what was found.
        revisions: For each key whose check failed, the revision seen (0: absent).
    """

    def __init__(self, message: str, *, revisions: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.revisions: dict[str, int] = dict(revisions or {})


class Busy(CoordError, TimeoutError):
    """What was asked for is held by others: at once, or for as long as the caller would wait; nothing is held."""


class Fenced(CoordError, PermissionError):
    """The fencing token is not the holder's any more: certainly not applied, and never will be.

    Args:
        message: Which token was refused, and who holds the key now.
        key: The holder key that the fence names.
        token: The token that was presented.
        current: The create revision of the holder key now (0: nobody holds it).
    """

    def __init__(self, message: str, *, key: str = "", token: int = 0, current: int = 0) -> None:
        super().__init__(message)
        self.key = key
        self.token = token
        self.current = current


class LeaseLost(CoordError, TimeoutError):
    """A lease has ended, or must be taken to have ended; what hung on it is gone or about to go.

    Args:
        message: Which lease, and since when.
        lease: Its id.
    """

    def __init__(self, message: str, *, lease: int = 0) -> None:
        super().__init__(message)
        self.lease = lease


class OutcomeUnknown(CoordError, TimeoutError):
    """The write may have landed, or may still land; it was not retried.

    Args:
        message: What was under way and what broke.
        op: For a resolvable transaction, what `CoordStore.resolve` takes; else None.
    """

    def __init__(self, message: str, *, op: str | None = None) -> None:
        super().__init__(message)
        self.op = op


class Unavailable(CoordError, ConnectionError):
    """The store could not be reached, locked or written: certainly not applied."""


class NoStore(Unavailable):
    """There is no store at that place, and whoever asked wanted none to be made."""


class StoreClosed(Unavailable):
    """The handle was closed, or its interpreter is; open the store again."""


class ForkRefused(Unavailable):
    """A handle was carried into a forked child; open the store again there."""


class Trimmed(CoordError, LookupError):
    """A reader's place in a stream was trimmed away: records before `first` are gone.

    Args:
        message: Which stream, and where it begins now.
        stream: The stream's name.
        first: The lowest sequence still readable; read on with ``after=first - 1``.
    """

    def __init__(self, message: str, *, stream: str = "", first: int = 0) -> None:
        super().__init__(message)
        self.stream = stream
        self.first = first


class StoreReplaced(CoordError, RuntimeError):
    """Under this handle lies another store, or an older state of it (a restored backup): open it anew."""


class Corrupt(CoordError, ValueError):
    """Stored bytes fail their check below the committed mark; nothing was changed or reset."""


class Unsupported(CoordError, NotImplementedError):
    """This backend, platform or file system cannot do that, and says so instead of doing half of it."""


class VersionMismatch(CoordError, RuntimeError):
    """The store was written by another format version; both versions are named, nothing was written."""


class InvalidTransition(CoordError, ValueError):
    """A state change that the state machine does not have; the state is as it was."""
