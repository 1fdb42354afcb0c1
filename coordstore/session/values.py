"""How a session's values are written and read: JSON objects, plain text and times; reading never fails."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.model import Entry

__all__ = ["as_object", "as_text", "as_value", "now_text", "strings", "words"]


_HALF = re.compile("[\ud800-\udfff]")
"""Half a surrogate pair: what is left of bytes that are no UTF-8, as in odd file names."""


def as_text(value: object) -> bytes:
    """Return a value as stored text; what UTF-8 cannot hold (parts of odd file names) is spelled out."""
    return str(value).encode("utf-8", "backslashreplace")


def as_value(data: Mapping[str, Any]) -> bytes:
    """Return an object as a stored value; what UTF-8 cannot hold is spelled out."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return _HALF.sub(lambda half: f"\\\\u{ord(half[0]):x}", text).encode()


def as_object(entry: Entry | None) -> dict[str, Any]:
    """Return an entry's JSON object; anything else that somebody wrote there counts as empty.

    No text in it has what UTF-8 cannot hold, so all of it can be written and printed.
    """
    if entry is None:
        return {}
    try:
        found: object = json.loads(str(entry.value, "utf-8"))
        if isinstance(found, dict) and b"\\u" in entry.value and b"\\ud" in entry.value.lower():
            found = json.loads(as_value(found))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def strings(value: object) -> list[str]:
    """Return the texts in a list; of anything else: none."""
    return [each for each in value if isinstance(each, str)] if isinstance(value, list | tuple) else []


def words(value: object) -> str | None:
    """Return a text or a number as text; nothing, and what is no words, as None."""
    return str(value) or None if isinstance(value, str | int | float) else None


def now_text() -> str:
    """Return the wall time in RFC 3339, UTC, for people."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
