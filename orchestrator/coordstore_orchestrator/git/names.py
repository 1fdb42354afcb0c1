"""Which names may become a branch, a folder and a file."""

from __future__ import annotations

import re
from typing import Final

from coordstore.errors import InvalidArgument

__all__ = ["checked", "is_name", "is_oid"]

_NAME: Final = re.compile(r"(?!.*\.lock\Z)(?!.*\.\.)[a-z0-9](?:[a-z0-9._-]{0,62}[a-z0-9_-])?")
_OID: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


def is_oid(text: str) -> bool:
    """Tell whether a text is an object's id in full, and nothing that git could take for an option or expression.

    Args:
        text: The text.
    """
    return _OID.fullmatch(text) is not None


def is_name(name: str) -> bool:
    """Tell whether a name is safe as a branch, a folder and a file on every system.

    Args:
        name: The name.
    """
    return _NAME.fullmatch(name) is not None


def checked(name: str, what: str = "agent") -> str:
    """Return a name after checking it.

    Args:
        name: The name.
        what: Whose it is, for the message.

    Raises:
        InvalidArgument: It is not safe.
    """
    if is_name(name):
        return name
    message = f"{name!r} cannot name {what} in git: use a-z, 0-9, '.', '_', '-', beginning with a letter or digit, ≤ 64"
    raise InvalidArgument(message)
