"""The grammar of keys, prefixes and streams, and every limit of the contract: checked before any I/O.

A key or stream is one to many segments joined by ``/``. A segment is ``[a-z0-9][a-z0-9._-]{0,63}``; the
first one may begin with ``@``, which marks the names that the library keeps for itself. A prefix is a key
(then that key and all below it are meant), a key followed by ``/`` (only what is below it), or empty
(everything): it ends at a segment, so ``agents/a1`` never covers ``agents/a10``.
"""

from __future__ import annotations

import functools
import re
from typing import Final

from coordstore.errors import InvalidArgument, InvalidKey, TooLarge

__all__ = [
    "KEY_MAX",
    "LIST_MAX",
    "RECORD_MAX",
    "TRANSACTION_BYTES_MAX",
    "TRANSACTION_CHECKS_MAX",
    "TRANSACTION_WRITES_MAX",
    "TTL_MAX",
    "TTL_MIN",
    "VALUE_MAX",
    "check_count",
    "check_key",
    "check_position",
    "check_prefix",
    "check_record",
    "check_stream",
    "check_ttl",
    "check_value",
    "is_segment",
    "prefix_bounds",
    "under",
]

KEY_MAX: Final = 512
"""Bytes in a key or stream name."""
VALUE_MAX: Final = 1024 * 1024
"""Bytes in a value."""
RECORD_MAX: Final = 256 * 1024
"""Bytes in a record of a stream."""
TRANSACTION_WRITES_MAX: Final = 64
"""Writes and appends, counted together, in one transaction."""
TRANSACTION_CHECKS_MAX: Final = 64
"""Checks in one transaction (a fence is not counted)."""
TRANSACTION_BYTES_MAX: Final = 5 * 1024 * 1024 // 4
"""Bytes of all keys, stream names, values and records of one transaction."""
TTL_MIN: Final = 2
"""Seconds: the shortest lease."""
TTL_MAX: Final = 366 * 24 * 3600
"""Seconds: the longest lease."""
LIST_MAX: Final = 1_000_000
"""The highest ``limit`` of a list or a read."""

_KEY = re.compile(r"@?[a-z0-9][a-z0-9._-]{0,63}(?:/[a-z0-9][a-z0-9._-]{0,63})*")
_SEGMENT = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_SHOWN = 80


def is_segment(text: str) -> bool:
    """Tell whether the text may stand as one segment of a key."""
    return _SEGMENT.fullmatch(text) is not None


def check_key(key: object, what: str = "key") -> str:
    """Return the key when it is in the allowed form.

    Raises:
        InvalidKey: It is not; the message shows it (shortened) and the form.
    """
    if isinstance(key, str) and len(key) <= KEY_MAX and (_is_key(key) if type(key) is str else _KEY.fullmatch(key)):
        return key
    shown = repr(key)
    shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(shown)} characters)"
    message = (
        f"{what} {shown} is not allowed: 1 to {KEY_MAX} bytes of segments [a-z0-9][a-z0-9._-]{{0,63}} joined by '/'"
    )
    raise InvalidKey(message)


# A store is asked for the same names over and over.
@functools.lru_cache(maxsize=2048)
def _is_key(text: str) -> bool:
    return _KEY.fullmatch(text) is not None


def check_stream(stream: object) -> str:
    """Return the stream's name when it is in the allowed form; see `check_key`."""
    if type(stream) is str and len(stream) <= KEY_MAX and _is_key(stream):
        return stream
    return check_key(stream, "stream")


def check_prefix(prefix: object) -> str:
    """Return the prefix when it is in the allowed form: empty, a key, or a key and ``/``.

    Raises:
        InvalidKey: It is not.
    """
    if prefix == "":
        return ""
    if isinstance(prefix, str) and prefix.endswith("/"):
        check_key(prefix[:-1], "prefix")
        return prefix
    return check_key(prefix, "prefix")


def under(prefix: str, key: str) -> bool:
    """Tell whether a (checked) prefix covers a key."""
    if not prefix or key == prefix:
        return True
    return key.startswith(prefix if prefix.endswith("/") else prefix + "/")


def prefix_bounds(prefix: str) -> tuple[str | None, str, str]:
    """Return a prefix as (the exact key it covers or None, first key below it, first key after those).

    All keys covered are the exact one and those in the half-open range; for the empty prefix the range is
    everything. The range is right in code point order, which for keys is byte order.
    """
    if not prefix:
        return None, "", "\U0010ffff"
    if prefix.endswith("/"):
        return None, prefix, prefix[:-1] + "0"
    return prefix, prefix + "/", prefix + "0"


def check_value(value: object, what: str = "value", limit: int = VALUE_MAX) -> bytes:
    """Return the value as bytes when it is some and short enough.

    Raises:
        InvalidArgument: It is not bytes.
        TooLarge: It is over the limit.
    """
    if not isinstance(value, bytes | bytearray | memoryview):
        message = f"a {what} is bytes, not {type(value).__name__}: encode it first"
        raise InvalidArgument(message)
    if len(value) > limit:
        message = (
            f"a {what} has at most {limit} bytes, this one {len(value)}: store it elsewhere and keep a reference here"
        )
        raise TooLarge(message)
    return bytes(value)


def check_record(data: object) -> bytes:
    """Return a record's data as bytes when it is some and short enough; see `check_value`."""
    if type(data) is bytes and len(data) <= RECORD_MAX:
        return data
    return check_value(data, "record", RECORD_MAX)


def check_ttl(ttl: object) -> int:
    """Return the TTL when it is a whole number of seconds within the limits.

    Raises:
        InvalidArgument: It is not.
    """
    whole = isinstance(ttl, int) and not isinstance(ttl, bool)
    if whole and TTL_MIN <= ttl <= TTL_MAX:  # type: ignore[operator]  # `whole` proves the type
        return ttl  # type: ignore[return-value]  # `whole` proves the type
    message = f"a lease's TTL is a whole number of seconds from {TTL_MIN} to {TTL_MAX}, not {ttl!r}"
    raise InvalidArgument(message)


def check_count(count: object, what: str) -> int | None:
    """Return a limit: None, or a whole number from 1 to `LIST_MAX`.

    Raises:
        InvalidArgument: It is neither.
    """
    if count is None:
        return None
    if isinstance(count, int) and not isinstance(count, bool) and 1 <= count <= LIST_MAX:
        return count
    message = f"{what} is None or a whole number from 1 to {LIST_MAX}, not {count!r}"
    raise InvalidArgument(message)


def check_position(position: object, what: str) -> int:
    """Return a revision or sequence: a whole number from 0.

    Raises:
        InvalidArgument: It is not one.
    """
    if isinstance(position, int) and not isinstance(position, bool) and position >= 0:
        return position
    message = f"{what} is a whole number from 0, not {position!r}"
    raise InvalidArgument(message)
