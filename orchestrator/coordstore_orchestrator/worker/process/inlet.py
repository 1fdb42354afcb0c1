"""What an agent reads on its stdin while it runs: bytes that are written as they come, until it is closed."""

from __future__ import annotations

import asyncio
import os

__all__ = ["Inlet"]


class Inlet:
    """A pipe into one agent. Writing never waits: what the agent does not read yet is kept in memory."""

    def __init__(self) -> None:
        self._end = -1
        self._pipe: asyncio.WriteTransport | None = None
        self._closed = False

    def __repr__(self) -> str:
        """Show how it stands."""
        state = "closed" if self._closed else "open" if self._pipe else "not open yet"
        return f"<Inlet {state}>"

    def open(self) -> int:
        """Make the pipe; return the end that the agent reads, which is the caller's to close."""
        reads, self._end = os.pipe2(os.O_CLOEXEC)
        return reads

    async def begin(self) -> None:
        """Begin to write; the agent runs. Cancelled or failed: `close` closes it."""
        loop = asyncio.get_running_loop()
        file = os.fdopen(self._end, "wb", buffering=0)
        self._end = -1
        self._pipe, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, file)

    def write(self, data: bytes) -> None:
        """Have the agent read something; of one that is closed, or of an agent that has ended: nothing."""
        if self._pipe is not None and not self._pipe.is_closing():
            self._pipe.write(data)

    def close(self) -> None:
        """Let the agent read what was written and then the end of its input."""
        self._closed = True
        if self._pipe is not None:
            self._pipe.close()
        elif self._end >= 0:
            os.close(self._end)
            self._end = -1
