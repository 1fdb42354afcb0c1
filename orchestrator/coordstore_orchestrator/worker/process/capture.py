"""Takes in what an agent prints: pipes, redaction, capped files, lines for whoever reads along.

Everything passes one place, in this order: pipe, redaction, file, lines. Reading never waits for anybody, so an
agent that floods its output neither hangs nor fills the disk; an error of the disk or of a reader is noted, and
reading goes on. The work is done in short turns on a thread, never in the event loop.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.worker.process.errors import CaptureFailed
from coordstore_orchestrator.worker.process.logfile import DEFAULT_CAP, LogFile, private_folder, read_log
from coordstore_orchestrator.worker.process.redact import Redactor
from coordstore_orchestrator.worker.process.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

__all__ = ["Capture", "CaptureStatistics"]

RECENT: Final = 1 << 14
"""Bytes of the newest output of both streams that are kept in memory."""

STREAMS: Final = ("stdout", "stderr")


@dataclass(frozen=True, slots=True)
class CaptureStatistics:
    """What came in so far.

    Args:
        stdout_bytes: Bytes read from standard output.
        stderr_bytes: Bytes read from standard error.
        written: Bytes written to files, after redaction, those since rotated away included.
        last_output_at: When something last came in, on the capture's clock; None: never.
        errors: What went wrong on the way, one sentence each.
    """

    stdout_bytes: int
    stderr_bytes: int
    written: int
    last_output_at: float | None
    errors: tuple[str, ...]


class Capture:
    """Captures the output of one process, once.

    Args:
        folder: A private folder of this attempt; made when absent.
        name: Distinguishes several processes of one attempt: files are then called ``NAME.stdout.log``, and
            ``NAME-2.stdout.log`` for the second of that name.
        secrets: Values that must not reach the disk.
        cap: Bytes kept of each stream: the first half of it, and the newest quarter to half.
        on_line: Called in the event loop with the stream's name and each line, redacted and without its end.
        clock: Tells the time for `last_output_at`.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "",
        *,
        secrets: Iterable[str] = (),
        cap: int = DEFAULT_CAP,
        on_line: Callable[[str, bytes], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.folder = folder
        self.last_output_at: float | None = None
        self._name = name
        self._secrets = tuple(secrets)
        self._cap = cap
        self._on_line = on_line
        self._clock = clock
        self._prefix = ""
        self._recent = bytearray()
        self._streams: list[Stream] = []
        self._readers: list[asyncio.Task[None]] = []

    def __repr__(self) -> str:
        return f"<Capture {self._name or 'output'} in {self.folder}: {self.statistics()}>"

    def open(self) -> tuple[int, int]:
        """Make folder, files and pipes; blocks, so call it in a thread, and `start` afterwards.

        Returns:
            The pipes' ends for the process to write to; the caller closes them.

        Raises:
            CaptureFailed: There is no safe place for the files.
        """
        if self._streams:
            message = f"this capture in {self.folder} was used already: make one for each process"
            raise CaptureFailed(message)
        private_folder(self.folder)
        try:
            logs = self._logs()
        except FileExistsError as error:
            message = f"{self.folder} holds the output of another process: give each attempt a folder of its own"
            raise CaptureFailed(message) from error
        except OSError as error:
            message = f"no log can be made in {self.folder} ({error.strerror}): free space, or choose another folder"
            raise CaptureFailed(message) from error
        ends: list[int] = []
        for stream, log in zip(STREAMS, logs, strict=True):
            end, write_end = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(end, False)
            ends.append(write_end)
            redactor = Redactor(self._secrets)
            self._streams.append(Stream(stream, end, log, redactor, self._came_in, self._on_line))
        return ends[0], ends[1]

    def start(self) -> None:
        """Begin to read, in the running event loop."""
        self._readers = [asyncio.ensure_future(stream.pump()) for stream in self._streams]

    async def finish(self, seconds: float = 1.0) -> None:
        """Read to the end and close the files.

        The process and all its children are gone, so the end is there at once, but for a pipe that was handed to
        somebody else's process: that is read for a little while and then left.

        Args:
            seconds: How long to read on without having seen the end.
        """
        if self._readers:
            await asyncio.wait(self._readers, timeout=seconds)
        for stream in self._streams:
            stream.stop()
        await asyncio.gather(*self._readers)
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Close files and pipes; blocks. What was not read is lost."""
        for stream in self._streams:
            stream.close()

    def discard(self) -> None:
        """Close everything and remove the files, because the process did not start; blocks."""
        self.close()
        for stream in self._streams:
            stream.log.remove()

    def tail(self, limit: int = 2000) -> str:
        """Return the newest output of both streams, as it came in, at most so many characters."""
        return bytes(self._recent).decode(errors="replace")[-limit:]

    def read(self, stream: str = "stdout") -> bytes:
        """Return what is kept of a stream, with a note where bytes were left out; blocks."""
        return read_log(self.folder, self._prefix + stream)

    def statistics(self) -> CaptureStatistics:
        """Return what came in so far."""
        received = {stream.name: stream.received for stream in self._streams}
        return CaptureStatistics(
            stdout_bytes=received.get("stdout", 0),
            stderr_bytes=received.get("stderr", 0),
            written=sum(stream.log.written for stream in self._streams),
            last_output_at=self.last_output_at,
            errors=tuple(error for stream in self._streams for error in stream.errors),
        )

    def _logs(self) -> list[LogFile]:
        """Create both files, under the first number of the name that is free."""
        for number in itertools.count(1):
            self._prefix = _prefix(self._name, number)
            try:
                first = LogFile(self.folder, self._prefix + STREAMS[0], self._cap)
            except FileExistsError:
                if self._name:
                    continue
                raise
            try:
                return [first, LogFile(self.folder, self._prefix + STREAMS[1], self._cap)]
            except OSError:
                first.close()
                raise
        raise AssertionError  # the numbers do not end

    def _came_in(self, data: bytes) -> None:
        self.last_output_at = self._clock()
        self._recent += data
        del self._recent[:-RECENT]


def _prefix(name: str, number: int) -> str:
    """Return what the files' names begin with, for the n-th process of that name."""
    if not name:
        return ""
    return f"{name}." if number == 1 else f"{name}-{number}."
