"""HTTP/2 frames in a byte stream: enough to see which call a proxy carries a request or a reply of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["DATA", "HEADERS", "Frame", "Frames"]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD: Final = 9
DATA: Final = 0
HEADERS: Final = 1
END_STREAM: Final = 1


@dataclass(frozen=True)
class Frame:
    """One frame.

    Args:
        kind: Its type: DATA, HEADERS, or another.
        flags: Its flags.
        stream: The call that it belongs to; 0 is the connection.
        raw: All its bytes.
    """

    kind: int
    flags: int
    stream: int
    raw: bytes

    @property
    def ends(self) -> bool:
        """Whether it is the last of its call in this direction."""
        return self.kind in (DATA, HEADERS) and bool(self.flags & END_STREAM)


class Frames:
    """Splits one direction of a connection into frames.

    Args:
        preface: Whether the client's preface comes first.
    """

    def __init__(self, *, preface: bool) -> None:
        self._preface = preface
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Take bytes; yield the frames that are whole now. The preface is yielded as a frame of no kind."""
        self._rest += data
        if self._preface:
            if len(self._rest) < len(PREFACE):
                return
            assert self._rest.startswith(PREFACE), "not HTTP/2"
            self._preface = False
            self._rest = self._rest[len(PREFACE) :]
            yield Frame(-1, 0, 0, PREFACE)
        while len(self._rest) >= HEAD:
            length = HEAD + int.from_bytes(self._rest[:3], "big")
            if len(self._rest) < length:
                return
            raw, self._rest = self._rest[:length], self._rest[length:]
            yield Frame(raw[3], raw[4], int.from_bytes(raw[5:9], "big") & 0x7FFF_FFFF, raw)
