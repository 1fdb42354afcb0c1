"""Real agents for tests: started in a private folder, marked with a token, heard line by line, watched by pidfd."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from typing import TYPE_CHECKING

from coordstore_orchestrator.worker.process import (
    AgentProcess,
    Capture,
    Guardian,
    Inlet,
    ProcessIdentity,
    find_marked,
    is_alive,
    process_identity,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["DAEMON", "PYTHON", "Bench", "all_died", "identities"]

PYTHON = (sys.executable, "-I", "-S", "-c")

DAEMON = """
import os
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.dup2(os.open(os.devnull, os.O_RDWR), 0); os.dup2(0, 1); os.dup2(0, 2)
        open("draft", "w").write(str(os.getpid())); os.rename("draft", "daemon")
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
os.wait()
while not os.path.exists("daemon"): pass
"""
"""Cuts a process loose by every means there is: two forks, a session of its own, no pipes, an empty environment."""


class Bench:
    """Starts agents and knows what they said."""

    def __init__(self, guardian: Guardian, folder: Path) -> None:
        self.guardian = guardian
        self.folder = folder
        self.token = secrets.token_hex(8)
        self.lines: list[str] = []
        self._heard = asyncio.Event()
        self._count = 0

    @property
    def env(self) -> dict[str, str]:
        return {"PATH": os.environ["PATH"], "COORD_RUN": self.token, "COORD_AGENT": "t1.1"}

    def capture(self, folder: str | None = None) -> Capture:
        self._count += 1
        return Capture(self.folder / (folder or f"logs-{self._count}"), on_line=self._hear)

    async def start(
        self, argv: Sequence[str], *, stdin: Path | Inlet | None = None, cwd: str = ".", logs: str | None = None
    ) -> AgentProcess:
        capture = self.capture(logs)
        return await self.guardian.spawn(
            argv, cwd=self.folder / cwd, env=self.env, capture=capture, stdin=stdin, label=f"agent {self._count}"
        )

    async def daemon(self) -> ProcessIdentity:
        """Return who the process of `DAEMON` is."""
        return process_identity(int(await asyncio.to_thread((self.folder / "daemon").read_text)))

    async def sh(self, script: str) -> AgentProcess:
        return await self.start(["sh", "-c", script])

    async def python(self, script: str) -> AgentProcess:
        return await self.start([*PYTHON, script])

    def _hear(self, _stream: str, line: bytes) -> None:
        self.lines.append(line.decode(errors="replace"))
        self._heard.set()

    async def hear(self, count: int = 1) -> list[str]:
        """Wait until that many lines were printed, by all agents together."""
        while len(self.lines) < count:
            self._heard.clear()
            await self._heard.wait()
        return self.lines

    async def remains(self) -> list[int]:
        """Return what still carries our mark."""
        return await asyncio.to_thread(find_marked, self.token)


async def all_died(identities: Iterable[ProcessIdentity]) -> None:
    """Wait until those processes have ended."""
    await asyncio.gather(*map(_died, identities))


async def _died(identity: ProcessIdentity) -> None:
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return
    gone = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_reader(handle, gone.set)
    try:
        if is_alive(identity):
            await gone.wait()
    finally:
        loop.remove_reader(handle)
        os.close(handle)


def identities(pids: Iterable[int | str]) -> list[ProcessIdentity]:
    """Return who those processes are, that live now."""
    return [process_identity(int(pid)) for pid in pids]
