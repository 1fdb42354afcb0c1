"""What all readers share: lines in, typed events out, and nothing an agent prints can break the run.

A reader is fed every line of one process, already redacted, and returns what it understood. A line it does not know,
or one whose shape is another than expected, is counted and otherwise nothing: formats change under our feet. What a
reader says decides nothing but this: an agent that says of itself that it failed is believed.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from coordstore.session import events

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["JsonLines", "JsonObject", "Reader", "count", "digest", "money", "short"]

JsonObject: TypeAlias = dict[str, Any]

SHOWN: Final = 2000
"""Characters that are kept of a text."""
FULL: Final = 1 << 15
"""Characters that are kept of each of the last messages: an abort keeps them."""
KEPT: Final = 3
"""How many of the last messages are kept in full."""
SUMMARY: Final = 200
"""Characters that are kept of a tool's arguments or result."""
COUNT_MAX: Final = 1 << 53
SHAPES: Final = (AttributeError, IndexError, KeyError, TypeError, ValueError, OverflowError)
"""How code stumbles over data of another shape than expected."""


class Reader:
    """Reads along with one process. This one knows no format: it is for commands that just print.

    Attributes:
        steps: How many steps the agent has taken.
        acted: Whether it has called a tool: from then on it is past its start.
        failed: Why it failed, by its own words; None: it does not say so.
        said: The last thing it said.
        unknown: Lines that were not understood.
        last: The last things it said, in full.
        ended: Whether it has said its last word, though its process may still read its input.
        signs: Signs of life that are worth no event: a piece of an answer that comes bit by bit.
    """

    live: bool = False
    """Whether any output is a sign of life; of a known format only what is understood is."""

    def __init__(self) -> None:
        self.steps = 0
        self.acted = False
        self.failed: str | None = None
        self.said: str | None = None
        self.unknown = 0
        self.signs = 0
        self.ended = False
        self.last: deque[str] = deque(maxlen=KEPT)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.steps} steps, {self.unknown} lines unknown>"

    def feed(self, stream: str, line: bytes) -> list[events.Event]:
        """Take one line of ``stdout`` or ``stderr``; return what it tells."""
        del stream, line
        return []

    def record(self, data: bytes) -> list[events.Event]:
        """Take the whole of the record that the agent itself writes (``{trace_file}``); return what is new in it."""
        del data
        return []

    def finish(self) -> list[events.Event]:
        """Return what is left to tell; the process has ended."""
        return []

    def step(self, text: str | None = None) -> events.Step:
        """Count a step and return its event."""
        self.steps += 1
        return events.Step(step=self.steps, text=text)

    def say(self, text: object) -> Iterator[events.Event]:
        """Yield a message, unless it is empty."""
        if isinstance(text, str) and text.strip():
            self.last.append(short(text.strip(), FULL))
            self.said = short(text.strip())
            yield events.Message(text=self.said)

    def call(self, name: object, arguments: object) -> events.ToolCall:
        """Return the event of a tool call."""
        self.acted = True
        return events.ToolCall(name=short(str(name), 100), digest=digest(arguments), summary=_summary(arguments))

    def result(self, name: object, text: object, *, ok: bool) -> events.ToolResult:
        """Return the event of a tool's end."""
        shown = None if name is None else short(str(name), 100)
        return events.ToolResult(name=shown, ok=ok, summary=short(_text(text), SUMMARY) or None)

    def fail(self, text: object) -> events.Error:
        """Note that the agent says it failed, and return the event."""
        self.failed = short(_text(text).strip()) or "it did not say why"
        return events.Error(text=self.failed)


class JsonLines(Reader):
    """Reads a stream of JSON objects, one a line, on standard output."""

    def feed(self, stream: str, line: bytes) -> list[events.Event]:
        """Take one line; return what it tells."""
        if stream != "stdout" or not line.strip():
            return []
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            self.unknown += 1
            return []
        return self.gather(self.read(found))

    def gather(self, told: Iterable[events.Event]) -> list[events.Event]:
        """Return the events, up to where the data has a shape that nobody has seen."""
        known: list[events.Event] = []
        try:
            known.extend(told)
        except SHAPES:
            self.unknown += 1
        return known

    def read(self, found: JsonObject) -> Iterator[events.Event]:
        """Yield what one object tells."""
        raise NotImplementedError


def digest(arguments: object) -> str:
    """Return the SHA-256 of arguments as canonical JSON, hex: equal calls have equal digests."""
    text = json.dumps(arguments, sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def short(text: str, limit: int = SHOWN) -> str:
    """Return a text, its middle left out when it is long: how a text ends says as much as how it begins."""
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]} […] {text[-half:]}"


def count(value: object) -> int:
    """Return a number of tokens; 0 for what is none."""
    return min(value, COUNT_MAX) if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0


def money(value: object) -> float | None:
    """Return an amount; None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if 0 <= value < COUNT_MAX else None


def _text(value: object) -> str:
    """Return the text in a result, which may be a text, a list of parts, or any JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_text(part.get("text", part) if isinstance(part, dict) else part) for part in value)
    return "" if value is None else json.dumps(value, ensure_ascii=False, default=str)


def _summary(arguments: object) -> str | None:
    """Return the telling one of a tool's arguments, the command or the path, else all of them."""
    if isinstance(arguments, dict):
        for name in ("command", "cmd", "file_path", "filePath", "path", "pattern"):
            if arguments.get(name):
                return short(_text(arguments[name]), SUMMARY)
    return short(_text(arguments), SUMMARY) or None
