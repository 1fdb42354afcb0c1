"""One agent's process, as its worker sees it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from coordstore_orchestrator.worker.process.errors import GuardianLost
from coordstore_orchestrator.worker.process.exits import Exit, parse_exit
from coordstore_orchestrator.worker.process.identity import MARKER, ProcessIdentity, boot_id, end_leftovers
from coordstore_orchestrator.worker.process.plumbing import PACKET, pack, unpack

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from coordstore_orchestrator.worker.process.capture import Capture
    from coordstore_orchestrator.worker.process.launch import Launch

__all__ = ["AgentProcess"]


class AgentProcess:
    """One agent's process. `Guardian.spawn` makes these.

    Attributes:
        pid: Its process id, also of its session and process group.
        start_ticks: When it started, in clock ticks since boot.
        label: The name it was given.
        capture: Where its output goes.
    """

    def __init__(self, launch: Launch, channel: socket.socket, guardian_gone: Callable[[], Awaitable[bool]]) -> None:
        self.pid = 0
        self.start_ticks = 0
        self.label = launch.label
        self.capture: Capture = launch.capture
        self._launch = launch
        self._channel = channel
        self._guardian_gone = guardian_gone
        self._ended: asyncio.Task[Exit] | None = None

    def __repr__(self) -> str:
        return f"<AgentProcess {self.label}: pid {self.pid}, {'runs' if self.running else 'has ended'}>"

    @property
    def identity(self) -> ProcessIdentity:
        """Say which process this is, for ever."""
        return ProcessIdentity(boot_id(), self.pid, self.start_ticks)

    @property
    def running(self) -> bool:
        """Whether its end has not been seen yet."""
        return self._ended is not None and not self._ended.done()

    async def wait(self) -> Exit:
        """Wait until it has ended, nothing of it is left, and its output is in its files.

        Cancelled, the agent goes on.
        """
        if self._ended is None:
            message = f"agent {self.label} was not started"
            raise GuardianLost(message)
        return await asyncio.shield(self._ended)

    async def terminate(self, grace: float = 5.0) -> Exit:
        """Ask it and all below it to end, kill what is left after the grace (seconds), and wait for its end.

        Of several calls the first one's grace counts. Cancelled, the termination goes on.
        """
        await self._command("terminate", grace)
        return await self.wait()

    async def kill(self) -> Exit:
        """Kill it and all below it, and wait for its end. Cancelled, the killing goes on."""
        await self._command("kill")
        return await self.wait()

    async def _command(self, *fields: str | float) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it has just ended: `wait` tells how
            if self.running and self._channel.fileno() >= 0:
                await asyncio.get_running_loop().sock_sendall(self._channel, pack(*map(str, fields)))

    async def begin(self) -> asyncio.Task[Exit]:
        """Wait for the keeper's word that the agent runs; return the task that sees its end. `spawn` calls this.

        Raises:
            StartFailed: It does not run.
            GuardianLost: Nobody is there to start it.
        """
        kind, *fields = await self._receive()
        if kind == b"failed":
            raise self._launch.refusal(fields[0].decode(), int(fields[1]))
        if kind != b"started":
            message = f"the guardian of agent {self.label} died before it had started it: open another Guardian"
            raise GuardianLost(message)
        self.pid, self.start_ticks = int(fields[0]), int(fields[1])
        self.capture.start()
        self._ended = asyncio.create_task(self._watch(), name=f"process of {self.label}")
        return self._ended

    async def _watch(self) -> Exit:
        kind, *fields = await self._receive()
        self._channel.close()
        if kind == b"":
            await self._end_unguarded()
        found = parse_exit(kind, fields)
        await self.capture.finish()
        return found

    async def _end_unguarded(self) -> None:
        """End what is left when keeper and guardian both were killed; the environment still marks it."""
        if await self._guardian_gone():
            await end_leftovers(self._launch.env.get(MARKER, ""))

    async def _receive(self) -> list[bytes]:
        try:
            return unpack(await asyncio.get_running_loop().sock_recv(self._channel, PACKET))
        except ConnectionResetError:
            return [b""]
