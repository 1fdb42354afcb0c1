"""Moves one pipe into one file, redacted, and cuts it into lines for whoever reads along."""

from __future__ import annotations

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore_orchestrator.worker.process.logfile import LogFile
    from coordstore_orchestrator.worker.process.redact import Redactor

__all__ = ["LineSplitter", "Stream"]

TURN: Final = 1 << 16
"""Bytes taken from a pipe at a time."""

TURNS: Final = 4
"""How often a pipe is read before other streams get their turn."""

LONGEST_LINE: Final = 1 << 20
"""Bytes of one line that are passed on; the rest of it is only in the file."""


class Stream:
    """One pipe on its way into one file.

    Args:
        name: The stream's name.
        fd: The pipe's end to read from, not blocking.
        log: Where it goes.
        redactor: Takes the secrets out.
        came_in: Called in a thread with what was let through, whenever something came in.
        on_line: Called in the event loop with the stream's name and each line.
    """

    def __init__(
        self,
        name: str,
        fd: int,
        log: LogFile,
        redactor: Redactor,
        came_in: Callable[[bytes], None],
        on_line: Callable[[str, bytes], None] | None,
    ) -> None:
        self.name = name
        self.log = log
        self.received = 0
        self.errors: list[str] = []
        self._fd = fd
        self._redactor = redactor
        self._came_in = came_in
        self._on_line = on_line
        self._lines = LineSplitter(LONGEST_LINE)
        self._ready: list[bytes] = []
        self._stopped = False
        self._wakeup: asyncio.Future[None] | None = None
        self._lock = threading.Lock()  # a turn cut off by cancellation may still run when the pipe is closed

    async def pump(self) -> None:
        """Read until the end of the pipe or until told to stop, and then what is left."""
        more = True
        while more:
            more = await self._readable()
            more = await asyncio.to_thread(self._turn) and more
            self._deliver()
        await asyncio.to_thread(self._end)
        self._deliver()

    def stop(self) -> None:
        """Make `pump` return without the end of the pipe."""
        self._stopped = True
        if self._wakeup is not None:
            _wake(self._wakeup)

    def close(self) -> None:
        """Close pipe and file; blocks."""
        with self._lock:
            if self._fd >= 0:
                os.close(self._fd)
                self.log.close()
            self._fd = -1

    async def _readable(self) -> bool:
        """Wait until there is something to read; False when told to stop."""
        if not self._stopped:
            loop = asyncio.get_running_loop()
            self._wakeup = wakeup = loop.create_future()
            loop.add_reader(self._fd, _wake, wakeup)
            try:
                await wakeup
            finally:
                loop.remove_reader(self._fd)
        return not self._stopped

    def _turn(self) -> bool:
        """Read what is there, some at a time; False at the end of the pipe."""
        with self._lock:
            for _ in range(TURNS):
                try:
                    data = os.read(self._fd, TURN) if self._fd >= 0 else b""
                except BlockingIOError:
                    return True
                if not data:
                    return False
                self.received += len(data)
                self._keep(self._redactor.feed(data))
            return True

    def _end(self) -> None:
        """Let through what redaction held back; the last line may lack its end."""
        with self._lock:
            if rest := self._redactor.finish():
                self._keep(rest)
        self._ready += self._lines.finish()

    def _keep(self, data: bytes) -> None:
        self._came_in(data)
        if self._on_line is not None:
            self._ready += self._lines.feed(data)
        if self._fd < 0:
            return
        try:
            self.log.write(data)
        except OSError as error:
            self._note(f"{self.name} is not kept in full ({error.strerror}): free space on the disk")

    def _deliver(self) -> None:
        """Hand the lines to whoever reads along; one that fails is not asked again, and the loop is told."""
        ready, self._ready = self._ready, []
        for line in ready:
            if self._on_line is None:
                return
            try:
                self._on_line(self.name, line)
            except Exception as error:  # noqa: BLE001 - somebody else's code; the output must go on being read
                self._on_line = None
                self._note(f"the reader of {self.name} failed ({error!r}) and gets no more lines")
                context = {"message": f"reader of an agent's {self.name} failed", "exception": error}
                asyncio.get_running_loop().call_exception_handler(context)

    def _note(self, sentence: str) -> None:
        if sentence not in self.errors:
            self.errors.append(sentence)


class LineSplitter:
    """Cuts a stream into lines.

    Args:
        longest: Bytes of one line that are kept; the rest of it is left out.
    """

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._begun = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take a piece; return the lines that it ended."""
        first, *others = data.split(b"\n")
        self._begun += first[: max(0, self._longest - len(self._begun))]
        if not others:
            return []
        lines = [bytes(self._begun), *(line[: self._longest] for line in others[:-1])]
        self._begun = bytearray(others[-1][: self._longest])
        return lines

    def finish(self) -> list[bytes]:
        """Return the last line if it has no end."""
        rest, self._begun = bytes(self._begun), bytearray()
        return [rest] if rest else []


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
