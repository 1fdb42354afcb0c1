"""Removes secrets from a stream of bytes, also where they arrive in pieces.

Two kinds are known: the values given (what this run's environment holds), and shapes that well-known services
give their tokens. Text is let through as soon as it can no longer be the beginning of either: what is held back
is at most the last unfinished word, or a given value's beginning.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from coordstore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

__all__ = ["REDACTED", "Redactor", "secret_values"]

REDACTED: Final = b"[redacted]"

SHORTEST: Final = 4
"""Bytes; a shorter value would redact half of every text."""

TELLING: Final = 8
"""Bytes from which an environment variable's value is taken for a secret by the variable's name."""

HELD: Final = 8192
"""Bytes of one unfinished word that are held back at most; longer than any token but a private key."""

BEFORE: Final = rb"(?:(?<![A-Za-z0-9])|(?<=\\[bfnrt])|(?<=[0-9;\[]m)|(?<=%[0-9A-Fa-f][0-9A-Fa-f]))"
"""A token begins where no word runs on; an escape in JSON, a colour or a percent sign ends in a letter all the same."""

SHAPES: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"sk-", rb"[A-Za-z0-9_-]{16,}"),  # Anthropic, OpenAI and many that copy them
    (b"sk_live_", rb"[A-Za-z0-9]{16,}"),  # Stripe
    (b"rk_live_", rb"[A-Za-z0-9]{16,}"),
    *((b"gh%c_" % kind, rb"[A-Za-z0-9]{20,}") for kind in b"pousr"),  # GitHub
    (b"github_pat_", rb"[A-Za-z0-9_]{20,}"),
    (b"glpat-", rb"[A-Za-z0-9_.-]{16,}"),  # GitLab
    (b"xox", rb"[abeoprs]-[A-Za-z0-9-]{10,}"),  # Slack
    (b"AIza", rb"[A-Za-z0-9_-]{30,}"),  # Google
    (b"ya29.", rb"[A-Za-z0-9_.-]{20,}"),
    (b"AKIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),  # Amazon
    (b"ASIA", rb"[A-Z0-9]{16}(?![A-Za-z0-9])"),
    (b"hf_", rb"[A-Za-z0-9]{20,}"),  # Hugging Face
    (b"npm_", rb"[A-Za-z0-9]{30,}"),
    (b"pypi-", rb"[A-Za-z0-9_-]{40,}"),
    (b"eyJ", rb"[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]*"),  # JSON web token
    (b"-----BEGIN ", rb"[A-Z ]*PRIVATE KEY-----[A-Za-z0-9+/=\s\\]+"),
)
"""How a secret begins, and how it goes on."""

WORD: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.+/=-" + b"\\[;%"
"""What a token, and the escape before it, can consist of: an unfinished run of these may yet become one."""

KEY: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\\ \t\r\n"
"""What a private key consists of; it runs over lines."""

KEY_BEGINS: Final = re.compile(rb"-----BEGIN [A-Z ]*(?:-{0,5}|-----[A-Za-z0-9+/=\s\\]*)")

TELLTALE: Final = re.compile(r"(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|AUTH)(?:_|\Z)", re.IGNORECASE)


def secret_values(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the values of variables whose names say that they are secret; none that is shorter than 8 bytes."""
    return tuple(
        value
        for name, value in environ.items()
        if TELLTALE.search(name) and len(value.encode(errors="replace")) >= TELLING
    )


class Redactor:
    """Passes a stream through, secrets replaced.

    Args:
        secrets: Exact values, in any bytes; also found as JSON strings and percent-encoded.

    Raises:
        InvalidArgument: A value is shorter than 4 bytes.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._values = sorted({form for value in secrets for form in _forms(value)}, key=len, reverse=True)
        self._held = b""
        self._swallow = b""

    def feed(self, data: bytes) -> bytes:
        """Take a piece of the stream; return what can be let through now."""
        return self._pass(self._held + data, last=False)

    def finish(self) -> bytes:
        """Return what was held back; the stream has ended."""
        return self._pass(self._held, last=True)

    def _pass(self, text: bytes, *, last: bool) -> bytes:
        if self._swallow:
            text = text.lstrip(self._swallow)
            self._swallow = b"" if text else self._swallow
        cut = len(text) if last else self._safe(text)
        out = bytearray()
        place = 0
        for start, end in self._spans(text):
            if start >= cut:
                break
            if end > cut and not last:
                if len(text) - start <= HELD:
                    cut = start  # it may go on in the next piece, or another begin inside of it
                    break
                self._swallow = KEY if text.startswith(b"-----", start) else WORD
            out += text[place:start] + REDACTED
            place = end
        cut = max(cut, place)
        self._held = text[cut:]
        return bytes(out + text[place:cut])

    def _spans(self, text: bytes) -> list[tuple[int, int]]:
        """Return where secrets lie, in order, overlapping ones joined."""
        found = [(at, at + len(value)) for value in self._values for at in _occurrences(text, value)]
        for begin, shape in _COMPILED:
            matches = (shape.match(text, at) for at in _occurrences(text, begin))
            found += [match.span() for match in matches if match]
        joined: list[tuple[int, int]] = []
        for start, end in sorted(found):
            if joined and start < joined[-1][1]:
                joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
            else:
                joined.append((start, end))
        return joined

    def _safe(self, text: bytes) -> int:
        """Return up to where the text cannot be the beginning of a secret."""
        tail = text[-HELD:]
        cut = len(tail.rstrip(WORD))
        key = tail.rfind(b"-----BEGIN ")
        if key >= 0 and KEY_BEGINS.fullmatch(tail, key):
            cut = min(cut, key)
        for value in self._values:
            for at in _occurrences(tail, value[:1], max(0, len(tail) - len(value) + 1), cut):
                if value.startswith(tail[at:]):
                    cut = at
                    break
        return len(text) - len(tail) + cut


_COMPILED: Final = tuple(
    (begin, re.compile((BEFORE if begin[:1].isalnum() else b"") + re.escape(begin) + rest)) for begin, rest in SHAPES
)


def _occurrences(text: bytes, needle: bytes, start: int = 0, end: int | None = None) -> Iterator[int]:
    """Yield where the needle begins in the text, from `start`, before `end`."""
    limit = len(text) if end is None else end + len(needle) - 1
    at = text.find(needle, start, limit)
    while at >= 0:
        yield at
        at = text.find(needle, at + 1, limit)


def _forms(value: str) -> set[bytes]:
    """Return the ways in which a value may stand in a text."""
    plain = value.encode(errors="surrogateescape")
    if len(plain) < SHORTEST:
        message = (
            f"a secret of {len(plain)} bytes cannot be kept out of a text: give values of {SHORTEST} bytes or more"
        )
        raise InvalidArgument(message)
    return {plain, json.dumps(value)[1:-1].encode(), quote(plain, safe="").encode()}
