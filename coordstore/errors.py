"""Every error of the library: one root, few leaves, each also the built-in it is.

A write ends in one of three ways, and the error says which: it returned (applied), it raised
`Conflict`, `Fenced`, `Unavailable` or a refusal of its arguments (certainly not applied), or it raised
`OutcomeUnknown` (it may have landed, or may still land).

All of them pickle and keep their details across it: details are attributes with defaults, the message
is the only positional argument.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

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

    hint: ClassVar[str] = "Do what the message says; COORD_DEBUG=1 shows where it happened."
    """What helps as a rule, beside what the message itself says; shown in docs/errors.md."""

    @classmethod
    def code(cls) -> str:
        """Return the short name that `coord` prints behind the message and docs/errors.md has a heading for."""
        words = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", cls.__name__.removesuffix("Error"))
        return words.lower() or "error"


class InvalidKey(CoordError, ValueError):
    """A key, prefix, stream or name is not in the allowed form; nothing was read or written."""

    hint: ClassVar[str] = "Use segments of [a-z0-9._-] that begin with a letter or digit, joined by single slashes."


class InvalidArgument(CoordError, ValueError):
    """An argument cannot be right (a TTL of zero, one key twice in a transaction); nothing was done."""

    hint: ClassVar[str] = "Correct the argument that is named; nothing was done."


class TooLarge(CoordError, ValueError):
    """A value, record or transaction is over its limit; refused before any I/O."""

    hint: ClassVar[str] = (
        "Split it: values hold 1 MiB, records 256 KiB, transactions 64 writes; large things are files."
    )


class Conflict(CoordError):
    """A check did not hold: certainly not applied.

    Args:
        message: What was expected and what was found.
        revisions: For each key whose check failed, the revision seen (0: absent).
    """

    hint: ClassVar[str] = "Read again, decide again, write again: somebody was faster."

    def __init__(self, message: str, *, revisions: Mapping[str, int] | None = None) -> None:
        super().__init__(message)
        self.revisions: dict[str, int] = dict(revisions or {})


class Busy(CoordError, TimeoutError):
    """What was asked for is held by others: at once, or for as long as the caller would wait; nothing is held."""

    hint: ClassVar[str] = "Wait longer, or ask for less; `coord inspect` shows who holds it."


class Fenced(CoordError, PermissionError):
    """The fencing token is not the holder's any more: certainly not applied, and never will be.

    Args:
        message: Which token was refused, and who holds the key now.
        key: The holder key that the fence names.
        token: The token that was presented.
        current: The create revision of the holder key now (0: nobody holds it).
    """

    hint: ClassVar[str] = "Stop: somebody else holds what you held. Claim it anew if the work is still wanted."

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

    hint: ClassVar[str] = "Stop what hung on it and take a new lease; look for a store out of reach or a pause."

    def __init__(self, message: str, *, lease: int = 0) -> None:
        super().__init__(message)
        self.lease = lease


class OutcomeUnknown(CoordError, TimeoutError):
    """The write may have landed, or may still land; it was not retried.

    Args:
        message: What was under way and what broke.
        op: For a resolvable transaction, what `CoordStore.resolve` takes; else None.
    """

    hint: ClassVar[str] = "Read what you wrote; or make it a resolvable transaction and ask `resolve`."

    def __init__(self, message: str, *, op: str | None = None) -> None:
        super().__init__(message)
        self.op = op


class Unavailable(CoordError, ConnectionError):
    """The store could not be reached, locked or written: certainly not applied."""

    hint: ClassVar[str] = "Run `coord doctor`: it says who holds the lock, and what is full or does not answer."


class NoStore(Unavailable):
    """There is no store at that place, and whoever asked wanted none to be made."""

    hint: ClassVar[str] = "Check the URL for a misspelled path or prefix; `coord run PLAN` makes a store."


class StoreClosed(Unavailable):
    """The handle was closed, or its interpreter is; open the store again."""

    hint: ClassVar[str] = "Open the store again; use a handle inside its `async with` only."


class ForkRefused(Unavailable):
    """A handle was carried into a forked child; open the store again there."""

    hint: ClassVar[str] = "Open stores after forking, not before; or use the start method `spawn`."


class Trimmed(CoordError, LookupError):
    """A reader's place in a stream was trimmed away: records before `first` are gone.

    Args:
        message: Which stream, and where it begins now.
        stream: The stream's name.
        first: The lowest sequence still readable; read on with ``after=first - 1``.
    """

    hint: ClassVar[str] = "Go on from the first record that is left, which the error carries, or trim less."

    def __init__(self, message: str, *, stream: str = "", first: int = 0) -> None:
        super().__init__(message)
        self.stream = stream
        self.first = first


class StoreReplaced(CoordError, RuntimeError):
    """Under this handle lies another store, or an older state of it (a restored backup): open it anew."""

    hint: ClassVar[str] = "Open it anew, and find out who restored or replaced it: what you knew of it may be wrong."


class Corrupt(CoordError, ValueError):
    """Stored bytes fail their check below the committed mark; nothing was changed or reset."""

    hint: ClassVar[str] = "Run `coord doctor`, keep a copy of the files, and restore a backup."


class Unsupported(CoordError, NotImplementedError):
    """This backend, platform or file system cannot do that, and says so instead of doing half of it."""

    hint: ClassVar[str] = "Take another backend or another machine: the message says what is missing."


class VersionMismatch(CoordError, RuntimeError):
    """The store was written by another format version; both versions are named, nothing was written."""

    hint: ClassVar[str] = "Use the version of coordstore that wrote it, or copy it over with `coord copy`."


class InvalidTransition(CoordError, ValueError):
    """A state change that the state machine does not have; the state is as it was."""

    hint: ClassVar[str] = "Look at the state that it is in; final states never change, a retry is a new attempt."
