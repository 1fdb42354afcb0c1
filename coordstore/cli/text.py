"""Text for terminals: made harmless, measured in columns, cut, wrapped, coloured and laid out in tables."""

from __future__ import annotations

import functools
import os
import re
import sys
import unicodedata
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TextIO

__all__ = ["Cell", "Column", "Style", "clean", "clip", "pad", "table", "terminal_size", "width_of", "wrap"]

UNLIMITED: Final = 10_000
"""The width of an output that is no terminal: nothing is cut there."""
GAP: Final = "  "

_SEQUENCES: Final = (
    r"\x1b\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor
    r"|\x9b[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_][^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)"  # OSC, DCS …: titles, the clipboard
    r"|\x1b[ -/]*[0-~]?"
)
_CODES: Final = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34"}
_JOINERS: Final = "\u200c\u200d"


def clean(text: str, *, keep: str = "") -> str:
    """Return text that cannot act on a terminal: no control sequence, no control or direction character.

    Args:
        text: What somebody else wrote.
        keep: Control characters that stay; others that are white space become a space.
    """
    if text.isprintable():
        return text
    return "".join(_harmless(char, keep) for char in re.sub(_SEQUENCES, "", text))


def _harmless(char: str, keep: str) -> str:
    if char in keep or char in _JOINERS or char.isprintable():
        return char
    if char.isspace():
        return " "
    return "?" if unicodedata.category(char) in ("Cs", "Co", "Cn") else ""


def width_of(text: str) -> int:
    """Return how many columns a terminal uses for a clean text."""
    return len(text) if text.isascii() else _width_of(text)


@functools.lru_cache(maxsize=1024)
def _width_of(text: str) -> int:
    return sum(_columns(char) for char in text)


def _columns(char: str) -> int:
    if char in _JOINERS or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def clip(text: str, width: int, mark: str = "…") -> str:
    """Return a clean text cut to a width, with a mark where it was cut."""
    if width_of(text) <= width:
        return text
    if width < 1:
        return ""
    kept, used = [], 0
    for char in text:
        used += _columns(char)
        if used > width - width_of(mark):
            break
        kept.append(char)
    return "".join(kept).rstrip() + mark


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Return a clean text filled with spaces to a width."""
    space = " " * max(0, width - width_of(text))
    return space + text if right else text + space


def wrap(text: str, width: int, most: int, mark: str = "…") -> list[str]:
    """Return a clean text in lines of a width, at most so many; the last one is cut."""
    lines: list[str] = []
    words = text.split()
    while words and len(lines) < most - 1:
        line = words.pop(0)
        while words and width_of(line) + 1 + width_of(words[0]) <= width:
            line += " " + words.pop(0)
        lines.append(clip(line, width, mark))
    return [*lines, clip(" ".join(words), width, mark)] if words else lines


class Style:
    """How an output may look.

    Args:
        colour: Whether escape sequences for colour are wanted.
        unicode: Whether it can show more than ASCII.
        width: Its columns.
    """

    def __init__(self, *, colour: bool = False, unicode: bool = True, width: int = UNLIMITED) -> None:
        self.colour = colour
        self.unicode = unicode
        self.width = width

    @classmethod
    def of(cls, stream: TextIO, *, no_color: bool = False) -> Style:
        """Return what suits a stream: colour only on a terminal, and not against the user's wish."""
        is_terminal = stream.isatty()
        plain = no_color or bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM", "dumb") == "dumb"
        unicode = (stream.encoding or "").lower().replace("-", "").startswith("utf")
        return cls(colour=is_terminal and not plain, unicode=unicode, width=terminal_size(stream)[0])

    @property
    def mark(self) -> str:
        """Return what stands where text was cut."""
        return "…" if self.unicode else "~"

    def paint(self, text: str, *names: str) -> str:
        """Return text in colours (``bold``, ``dim``, ``red`` …), or as it is."""
        if not self.colour or not text:
            return text
        codes = ";".join(_CODES[name] for name in names if name)
        return f"\x1b[{codes}m{text}\x1b[0m" if codes else text


def terminal_size(stream: TextIO = sys.stdout) -> tuple[int, int]:
    """Return columns and rows of an output; where it is no terminal: COLUMNS if that is set, else no limit."""
    try:
        size = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError, AttributeError):
        columns = os.environ.get("COLUMNS", "")
        return int(columns) if columns.isdigit() and int(columns) else UNLIMITED, 0
    return size.columns or 80, size.lines or 24


class Cell(NamedTuple):
    """One field of a table: a clean text and its colour."""

    text: str
    colour: str = ""


class Column(NamedTuple):
    """One column of a table.

    Args:
        title: Its head.
        least: Columns it may be cut down to; 0: it is never cut.
        right: Whether it stands at the right.
        spare: When there is no room, the column with the highest is left out first; 0: never.
    """

    title: str
    least: int = 0
    right: bool = False
    spare: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[Cell]], style: Style, indent: str = "") -> list[str]:
    """Lay out rows below their heads, the head first; columns that are empty in all rows are left out."""
    chosen = [at for at in range(len(columns)) if any(row[at].text for row in rows)]
    natural = {at: max(map(width_of, {columns[at].title, *(row[at].text for row in rows)})) for at in chosen}
    room = style.width - len(indent)
    widths = _fit(columns, natural, room)
    while _total(widths) > room:
        spare = max(natural, key=lambda at: columns[at].spare)
        if not columns[spare].spare:
            break
        del natural[spare]
        widths = _fit(columns, natural, room)
    head = [Cell(column.title, "dim") for column in columns]
    return [indent + _line(columns, row, widths, style) for row in (head, *rows)]


def _fit(columns: Sequence[Column], natural: dict[int, int], room: int) -> dict[int, int]:
    """Return widths for the columns, the widest of those that may be cut made narrower until all fit."""
    widths = dict(natural)
    over = _total(widths) - room
    while over > 0:
        soft = [at for at, width in widths.items() if columns[at].least and width > columns[at].least]
        if not soft:
            break
        widths[max(soft, key=widths.__getitem__)] -= 1
        over -= 1
    return widths


def _total(widths: dict[int, int]) -> int:
    return sum(widths.values()) + len(GAP) * (len(widths) - 1)


def _line(columns: Sequence[Column], row: Sequence[Cell], widths: dict[int, int], style: Style) -> str:
    parts = []
    for at, width in widths.items():
        text, colour = row[at]
        used = width_of(text)
        if used > width:
            text = clip(text, width, style.mark)
            used = width_of(text)
        space = " " * (width - used)
        painted = style.paint(text, colour)
        parts.append(space + painted if columns[at].right else painted + space)
    return GAP.join(parts).rstrip()
