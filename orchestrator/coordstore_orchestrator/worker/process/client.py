"""Starts agents through the guardian.

The guardian starts in the background as soon as the context is entered: requests wait in its socket, so nobody
waits for it. Whatever way the context is left, and however this process ends, no process of its agents stays.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, TypeVar

from coordstore.errors import Unsupported
from coordstore_orchestrator.worker.process.agent import AgentProcess
from coordstore_orchestrator.worker.process.errors import GuardianLost
from coordstore_orchestrator.worker.process.launch import Launch
from coordstore_orchestrator.worker.process.plumbing import PACKET, PATIENCE

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence
    from types import TracebackType

    from coordstore_orchestrator.worker.process.capture import Capture
    from coordstore_orchestrator.worker.process.inlet import Inlet

__all__ = ["Guardian", "GuardianStatistics"]

PROGRAM: Final = Path(__file__).with_name("guardian.py")

KEPT: Final = ("LD_LIBRARY_PATH",)
"""What of our environment the guardian may need: the way to Python's own libraries."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class GuardianStatistics:
    """What a guardian has done so far.

    Args:
        pid: Its process id; None while it starts.
        running: Agents that run.
        started: Agents that were started.
        lost: Whether it has died.
    """

    pid: int | None
    running: int
    started: int
    lost: bool


class Guardian:
    """Starts agents and leaves no process of theirs behind; use it with ``async with``.

    Leaving the context kills what still runs. So does the end of this process, however it comes.
    """

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._starting: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._agents: set[AgentProcess] = set()
        self._started = 0
        self._lost = False

    def __repr__(self) -> str:
        return f"<Guardian {self.statistics()}>"

    def statistics(self) -> GuardianStatistics:
        """Return what it has done so far."""
        running = sum(agent.running for agent in self._agents)
        return GuardianStatistics(
            None if self._process is None else self._process.pid, running, self._started, self._lost
        )

    async def __aenter__(self) -> Self:
        """Begin to start the guardian; nobody waits for it.

        Raises:
            Unsupported: This system has no way to keep hold of an agent's processes.
        """
        if sys.platform != "linux":
            message = f"agents cannot be run on {sys.platform} yet: use Linux, where none of their processes can escape"
            raise Unsupported(message)
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._starting = asyncio.ensure_future(asyncio.to_thread(self._start, theirs))
        self._watching = asyncio.create_task(self._watch(self._control), name="guardian")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill every agent and wait until nothing of them is left, also when cancelled meanwhile."""
        await _to_the_end(self._close())

    async def spawn(
        self,
        argv: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        capture: Capture,
        stdin: Path | Inlet | None = None,
        label: str,
        writable: Sequence[Path] = (),
    ) -> AgentProcess:
        """Start an agent in a session of its own.

        It gets exactly this environment, these arguments, the usual signals, file mode mask 022, and no
        descriptor beyond the three.

        Args:
            argv: The command, used as it is, never through a shell.
            cwd: Where it starts.
            env: Its whole environment; the program is looked for on its PATH.
            capture: Takes its output; one per process.
            stdin: A file that it reads from, or an inlet, which the caller begins and closes; None: it reads nothing.
            label: A name for people.
            writable: Where alone it, and all that it starts, may write; empty: it is not confined.

        Returns:
            The process, running.

        Raises:
            StartFailed: The command, its folder or its input is missing or unusable.
            CaptureFailed: The output has no safe place to go.
            GuardianLost: The guardian has died.

        Cancelled, nothing of the agent is left running.
        """
        launch = Launch(argv, cwd, env, stdin, capture, label, writable)
        channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        channel.setblocking(False)
        agent = AgentProcess(launch, channel, self.is_gone)
        try:
            with theirs:
                try:
                    await _to_the_end(asyncio.to_thread(launch.prepare))
                    await self._send(launch, theirs)
                finally:
                    launch.close()
            ended = await agent.begin()
        except BaseException:
            channel.close()  # the keeper sees it and ends what it has started
            launch.abandon()
            await _to_the_end(asyncio.to_thread(capture.discard))
            raise
        self._agents.add(agent)
        self._started += 1
        ended.add_done_callback(lambda _: self._agents.discard(agent))
        return agent

    async def is_gone(self) -> bool:
        """Return whether the guardian has died, or dies within a second."""
        if self._watching is not None:
            await asyncio.wait({self._watching}, timeout=1.0)
        return self._lost

    def _start(self, theirs: socket.socket) -> None:
        """Start the program; its error output is ours, for errors of its own. Blocks."""
        argv = [sys.executable, "-I", "-S", str(PROGRAM), str(theirs.fileno()), str(os.getpid())]
        env = {name: os.environ[name] for name in KEPT if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                env=env,
            )

    async def _watch(self, control: socket.socket) -> None:
        """Wait for the guardian's end; it never says anything."""
        with suppress(ConnectionResetError):
            await asyncio.get_running_loop().sock_recv(control, PACKET)
        self._lost = True

    async def _send(self, launch: Launch, channel: socket.socket) -> None:
        """Hand a request and its descriptors over."""
        if self._control is None or self._lost:
            raise _gone()
        request, *stdio = launch.descriptors
        async with self._sending:
            while True:
                try:
                    socket.send_fds(self._control, [b"spawn"], [request, channel.fileno(), *stdio])
                except BlockingIOError:
                    await _writable(self._control)
                except (BrokenPipeError, ConnectionResetError) as error:
                    raise _gone() from error
                else:
                    return

    async def _close(self) -> None:
        killing = [asyncio.ensure_future(agent.kill()) for agent in self._agents]
        if killing:
            await asyncio.wait(killing, timeout=PATIENCE)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.wait({self._watching})
        if self._control is not None:
            self._control.close()
        if self._starting is not None:
            await self._starting
        if self._process is not None:
            impatience = asyncio.get_running_loop().call_later(2 * PATIENCE + 1, self._process.kill)
            await asyncio.to_thread(self._process.wait)
            impatience.cancel()
        await asyncio.gather(*killing)


def _gone() -> GuardianLost:
    return GuardianLost("the guardian has died, and its agents with it: open another Guardian")


async def _to_the_end(work: Coroutine[None, None, Result]) -> Result:
    """Await work to its end, also when cancelled; the cancellation comes after it."""
    task = asyncio.ensure_future(work)
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError from task.exception()
    return task.result()


async def _writable(sock: socket.socket) -> None:
    """Wait until there is room in a socket."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(sock)
