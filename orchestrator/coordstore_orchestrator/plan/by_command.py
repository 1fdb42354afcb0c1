"""The planner that asks a command: the prompt on its stdin, a plan on its stdout; so any agent's CLI can plan."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.plan.bounds import PLAN_BYTES_MAX
from coordstore_orchestrator.plan.errors import shown
from coordstore_orchestrator.plan.planning import PlannerFailed

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Sequence

__all__ = ["CommandPlanner", "make"]

SECONDS: Final = 900.0
"""How long a command may think about one plan."""
CHUNK: Final = 65536


class CommandPlanner:
    """Asks a command, which runs where we do, with our environment, in a process group of its own.

    Args:
        argv: The program and its arguments; no shell sees them.
        seconds: How long it may take for one answer.
    """

    def __init__(self, argv: Sequence[str], seconds: float = SECONDS) -> None:
        self._argv = list(argv)
        self._seconds = seconds

    async def propose(self, prompt: str) -> str:
        """Return what the command prints; when it fails, is late or is cancelled, its whole group is ended."""
        try:
            process = await asyncio.create_subprocess_exec(*self._argv, stdin=PIPE, stdout=PIPE, start_new_session=True)
        except OSError as error:
            message = f"planner {shown(self._argv[0])} cannot be started: {error.strerror}"
            raise PlannerFailed(message) from error
        try:
            async with asyncio.timeout(self._seconds):
                said = await _talk(process, prompt.encode())
        except TimeoutError as error:
            message = f"planner {shown(self._argv[0])} gave no plan in {self._seconds:g} s"
            raise PlannerFailed(message) from error
        finally:
            await _end(process)
        if process.returncode:
            message = f"planner {shown(self._argv[0])} failed with status {process.returncode}: run it by hand"
            raise PlannerFailed(message)
        if len(said) > PLAN_BYTES_MAX:
            message = f"planner {shown(self._argv[0])} printed more than {PLAN_BYTES_MAX} bytes"
            raise PlannerFailed(message)
        return said.decode(errors="replace")


async def _talk(process: Process, prompt: bytes) -> bytes:
    """Write the prompt, read the answer, wait for the end."""
    said, _ = await asyncio.gather(_read(process), _write(process, prompt))
    await process.wait()
    return said


async def _write(process: Process, prompt: bytes) -> None:
    assert process.stdin is not None  # noqa: S101  (it is a pipe)
    with suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it is asked
        process.stdin.write(prompt)
        await process.stdin.drain()
    process.stdin.close()


async def _read(process: Process) -> bytes:
    assert process.stdout is not None  # noqa: S101  (it is a pipe)
    said = bytearray()
    while chunk := await process.stdout.read(CHUNK):
        if len(said) <= PLAN_BYTES_MAX:
            said += chunk
    return bytes(said)


async def _end(process: Process) -> None:
    """End what is left of the group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()


def make(arguments: Sequence[str]) -> CommandPlanner:
    """Return the planner for a command line."""
    if not arguments:
        message = "the planner command takes a command: coord plan make GOAL -- PROGRAM [ARGUMENT]..."
        raise InvalidArgument(message)
    return CommandPlanner(arguments)
