"""The whole terminal for a live view: taken, drawn on, and given back as it was, whatever ends the view."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
import termios
import tty
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Self

from coordstore.cli.text import terminal_size

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Screen", "named_keys"]

ENTER: Final = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"
_SEQUENCE: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[A-Z])|[\x00-\x7f]")
_KEYS: Final = {
    b"\x1b[A": "up",
    b"\x1bOA": "up",
    b"k": "up",
    b"\x1b[B": "down",
    b"\x1bOB": "down",
    b"j": "down",
    b"\r": "enter",
    b"\n": "enter",
    b"\x1b": "escape",
}
"""Keys that have a name; letters are their own, other sequences mean nothing here."""
LEAVE: Final = "\x1b[?7h\x1b[?25h\x1b[?1049l"


class Screen:
    """The terminal of this process, for the time of a ``with`` inside a running event loop.

    Args:
        changed: Set when the screen must be drawn anew: resized, or a key was pressed.
    """

    def __init__(self, changed: asyncio.Event) -> None:
        self.width, self.height = terminal_size(sys.stdout)
        self.quitting = asyncio.Event()
        self.interrupted = False
        self.keys: deque[str] = deque(maxlen=64)
        self._changed = changed
        self._before: list[Any] | None = None

    def __repr__(self) -> str:
        """Show the size."""
        return f"<Screen {self.width}x{self.height}>"

    @property
    def quit(self) -> bool:
        """Whether the user, or a signal, asked to end the view."""
        return self.quitting.is_set()

    def __enter__(self) -> Self:
        """Take the terminal."""
        loop = asyncio.get_running_loop()
        if sys.stdin.isatty():
            self._before = termios.tcgetattr(sys.stdin)
            loop.add_reader(sys.stdin, self._key)
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._stop)
        # Not left to a cancellation of the task: that can be lost where it meets the end of a `wait_for`.
        loop.add_signal_handler(signal.SIGINT, self._interrupt)
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Give it back."""
        loop = asyncio.get_running_loop()
        if self._before is not None:
            loop.remove_reader(sys.stdin)
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGWINCH, signal.SIGTSTP):
            loop.remove_signal_handler(number)
        self._give_back()

    def draw(self, lines: list[str]) -> None:
        """Show lines, which must be clean and fit the width, from the top; what was below goes."""
        body = "\x1b[K\r\n".join(lines[: self.height])
        _write(f"\x1b[H{body}\x1b[K\x1b[J")

    def _take(self) -> None:
        if self._before is not None:
            tty.setcbreak(sys.stdin, termios.TCSANOW)
        _write(ENTER)

    def _give_back(self) -> None:
        _write(LEAVE)
        if self._before is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._before)

    def _key(self) -> None:
        typed = os.read(sys.stdin.fileno(), 64)
        if not typed:
            self._stop()
        self.keys.extend(named_keys(typed))
        self._changed.set()

    def _stop(self) -> None:
        self.quitting.set()
        self._changed.set()

    def _interrupt(self) -> None:
        self.interrupted = True
        self._stop()

    def _resized(self) -> None:
        self.width, self.height = terminal_size(sys.stdout)
        self._changed.set()

    def _suspend(self) -> None:
        """Leave the terminal to the shell while this process is stopped."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()
        self._resized()


def named_keys(typed: bytes) -> list[str]:
    """Return the keys in what was typed, by name."""
    found = (match[0].lower() if match[0].isalpha() else match[0] for match in _SEQUENCE.finditer(typed))
    names = (_KEYS.get(each) or (each.decode() if each.isalpha() else "") for each in found)
    return [name for name in names if name]


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
