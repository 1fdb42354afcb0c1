"""HTML made of elements: every text is escaped on the way in, so what agents wrote cannot become markup."""

from __future__ import annotations

import html
import re
from typing import Final

from coordstore.cli.text import clean

__all__ = ["Markup", "join", "tag", "text"]

VOID: Final = frozenset({"br", "hr", "meta"})
_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")


class Markup(str):
    """Text that is HTML already; only this module makes it."""

    __slots__ = ()


def text(said: object) -> Markup:
    """Return a text as HTML: escaped, without control and direction characters; lines stay lines."""
    return Markup(html.escape(clean(str(said), keep="\n"), quote=True))


def join(*parts: str) -> Markup:
    """Return parts one after the other; those that are no markup are escaped."""
    return Markup("".join(part if isinstance(part, Markup) else text(part) for part in parts))


def tag(name: str, /, *inner: str, **attributes: str | float | None) -> Markup:
    """Return an element.

    Args:
        name: Of the element.
        inner: What stands in it; what is no markup is escaped.
        attributes: By name, ``class_`` for ``class``, ``_`` for ``-``; escaped; those that are None are left out.
    """
    parts = [name]
    for key, value in attributes.items():
        shown = key.rstrip("_").replace("_", "-")
        if value is None or not _NAME.fullmatch(shown):
            continue
        parts.append(f'{shown}="{text(value)}"')
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if name in VOID and not inner else f"{opening}{join(*inner)}</{name}>")
