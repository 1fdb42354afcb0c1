"""The keeper: runs one agent, and ends whatever the agent leaves behind.

It is a fork of the guardian and a child subreaper: a process that the agent cuts loose (double fork, setsid)
falls to it, however often it forks. So "no child is left" is the same as "nothing of that agent is alive".
"""

from __future__ import annotations

import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Sequence
else:
    import _signal as signal

if TYPE_CHECKING or __package__:
    from coordstore_orchestrator.worker.process import landlock, plumbing, proctree
else:
    import landlock
    import plumbing
    import proctree

__all__ = ["Keeper"]

LINGER = 0.05
"""Seconds that the agent's children have to end by themselves after it, before they count as left behind."""

DEFAULTS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ)
"""What Python or the guardian handles or ignores, and an agent must find as usual."""


class Keeper:
    """Runs one agent in a session of its own and ends whatever it leaves behind.

    Args:
        channel: The socket to the worker, for this agent alone.
        request: What to start: executable, directory, number of arguments, arguments, number of paths, the paths
            that alone it may write to, environment.
        stdio: The agent's stdin, stdout and stderr.
    """

    def __init__(self, channel: socket.socket, request: list[bytes], stdio: Sequence[int]) -> None:
        self.channel = channel
        self.executable, self.directory, count, *rest = request
        self.argv, paths, rest = rest[: int(count)], int(rest[int(count)]), rest[int(count) + 1 :]
        self.writable, environment = rest[:paths], rest[paths:]
        self.environment = dict(pair.split(b"=", 1) for pair in environment)
        self.stdio = stdio
        self.wake = plumbing.Wake()
        self.reaper = plumbing.Reaper(self.wake, self._exited)
        self.agent = 0
        self.report: list[bytes | str | int] | None = None
        self.deadline: float | None = None

    def run(self) -> None:
        """Start the agent, serve its channel until it is over, and leave nothing of it alive."""
        self._start()
        if not self.agent:
            return
        poll = select.poll()
        poll.register(self.channel.fileno(), select.POLLIN)
        poll.register(self.wake.fd, select.POLLIN)
        leftovers: list[tuple[int, list[bytes]]] = []
        reason: bytes | None = None
        while self.report is None and reason is None:
            ready = {fd for fd, _ in poll.poll(self._patience())}
            self.wake.clear()
            self.reaper.reap()
            if self.report is None:
                reason = self._why_end(self.channel.fileno() in ready)
        if self.report is not None:
            leftovers = self._living()
        survivors = self._end_tree()
        if self.report is not None:
            how = b"lost" if reason == b"lost" else b"exited"
            plumbing.tell(self.channel, how, *self.report, *plumbing.describe(survivors), *plumbing.describe(leftovers))

    def _start(self) -> None:
        """Fork and exec the agent, and tell the worker its pid and start time, or why not."""
        told, tell_end = os.pipe2(os.O_CLOEXEC)
        keeper = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_agent(keeper, tell_end)
        os.close(tell_end)
        for fd in self.stdio:
            os.close(fd)
        trouble = os.read(told, 64)
        os.close(told)
        if trouble:
            os.waitpid(pid, 0)
            plumbing.tell(self.channel, b"failed", *plumbing.unpack(trouble))
            return
        known = proctree.read_process(pid)
        self.agent = pid
        plumbing.tell(self.channel, b"started", pid, known.start if known else 0)

    def _become_agent(self, keeper: int, tell_end: int) -> None:
        """Turn this fork into the agent; never returns."""
        step = b"exec"
        try:
            os.setsid()
            plumbing.prctl(plumbing.PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() != keeper:
                os._exit(127)
            self.wake.close()
            for number in DEFAULTS:
                signal.signal(number, signal.SIG_DFL)
            for target, fd in enumerate(self.stdio):
                os.dup2(fd, target)
            os.umask(0o022)
            step = b"cwd"
            os.chdir(self.directory)
            if self.writable:
                step = b"confine"
                landlock.restrict(self.writable)
            step = b"exec"
            os.execve(self.executable, self.argv, self.environment)  # noqa: S606 - without a shell is the point
        except OSError as error:
            os.write(tell_end, plumbing.pack(step, error.errno or 0))
        finally:
            os._exit(127)

    def _exited(self, pid: int, status: int, seconds: float, kibibytes: int) -> None:
        if pid == self.agent:
            code = os.waitstatus_to_exitcode(status)
            self.report = [code, int(seconds * 1000), kibibytes]

    def _patience(self) -> int | None:
        """Return how long the next poll may last, in milliseconds: until the grace of a termination is over."""
        return None if self.deadline is None else max(0, int((self.deadline - time.monotonic()) * 1000) + 1)

    def _why_end(self, readable: bool) -> bytes | None:  # noqa: FBT001 - one private caller
        """Return why the tree is to be ended now, if it is."""
        if self.wake.told_to_stop:
            return b"lost"
        if readable:
            command, *arguments = plumbing.unpack(plumbing.receive(self.channel))
            if command != b"terminate":
                return command or b"lost"
            self._terminate(float(arguments[0]))
        if self.deadline is not None and time.monotonic() >= self.deadline:
            return b"kill"
        return None

    def _terminate(self, grace: float) -> None:
        """Ask the whole tree to end; a stopped process hears it only when it continues."""
        if self.deadline is None:
            self.deadline = time.monotonic() + grace
        for process in proctree.below(os.getpid()):
            for number in (signal.SIGTERM, signal.SIGCONT):
                try:
                    proctree.send(process, number)
                except PermissionError:
                    break

    def _living(self) -> list[tuple[int, list[bytes]]]:
        """Return what the agent has left behind, before it is ended: afterwards it has no arguments any more."""
        deadline = time.monotonic() + LINGER
        while (left := self.reaper.reap()) and (wait := deadline - time.monotonic()) > 0:
            self.wake.wait(wait)
        if not left:
            return []
        found = [(process.pid, proctree.command_line(process.pid)) for process in proctree.below(os.getpid())]
        return found or [(0, [])]  # there is one, but it forks on and exits before it can be seen

    def _end_tree(self) -> list[tuple[int, list[bytes]]]:
        """Kill and collect everything below; return what could not be killed."""
        survivors: list[proctree.Process] = []
        if self.reaper.reap():
            root = os.getpid()
            _, survivors = proctree.end_all(lambda: proctree.below(root), plumbing.PATIENCE, self.reaper.hunt)
        return [(process.pid, proctree.command_line(process.pid)) for process in survivors]
