"""The guardian: a small program that starts a worker's agents and lets no process of theirs outlive it.

One guardian per worker process, one keeper (a fork of the guardian) per agent:

    worker --control--> guardian --fork--> keeper --fork, exec--> agent --> whatever the agent starts
       +----------------channel--------------+

- The worker sends one packet on the control socket per agent, with five descriptors: the request, the agent's
  channel, its stdin, stdout and stderr. Everything else about the agent goes over its channel.
- A channel at its end, or a control socket at its end, means that the worker is gone (also by kill -9): the tree
  dies. The guardian also watches its worker through a pidfd, because a forked copy of the worker could hold the
  sockets open.
- A guardian that dies takes its keepers along (parent-death signal), and they their trees. A keeper that dies
  takes its agent along the same way, and the guardian, a child subreaper too, ends what falls to it.

It runs by path under ``python -I -S``, which is up in about 12 ms; hence the C modules, see `plumbing`.
"""

from __future__ import annotations

import os
import select
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Sequence
else:
    import _signal as signal
    import _socket as socket

if TYPE_CHECKING or __package__:
    from coordstore_orchestrator.worker.process import keeper as agents
    from coordstore_orchestrator.worker.process import plumbing, proctree
else:
    sys.path.append(os.path.dirname(os.path.abspath(__file__)))  # noqa: PTH100, PTH120 - pathlib costs 10 ms here
    import keeper as agents
    import plumbing
    import proctree

__all__ = ["Guardian", "main"]

DESCRIPTORS = 5
"""Request, channel, stdin, stdout, stderr."""

CRASHED = 70
"""A keeper's exit code after an error of its own."""


class Guardian:
    """Forks a keeper for each agent that the worker asks for, until the worker is gone.

    Args:
        control: The socket to the worker.
        worker: The worker's process id.
    """

    def __init__(self, control: socket.socket, worker: int) -> None:
        self.control = control
        self.worker = worker
        self.wake = plumbing.Wake()
        self.reaper = plumbing.Reaper(self.wake, self._keeper_gone)
        self.keepers: dict[int, socket.socket] = {}
        self.failed: list[socket.socket] = []
        self.strays = 0

    def run(self) -> None:
        """Serve the worker to its end, then end everything."""
        worker = proctree.open_handle(self.worker)
        if os.getppid() != self.worker:
            return
        poll = select.poll()
        for fd in (self.control.fileno(), self.wake.fd, worker):
            if fd is not None:
                poll.register(fd, select.POLLIN)
        while not self.wake.told_to_stop:
            ready = {fd for fd, _ in poll.poll()}
            self.wake.clear()
            self.reaper.reap()
            self._end_strays()
            if worker in ready or (self.control.fileno() in ready and not self._serve()):
                break
        self._close()

    def _serve(self) -> bool:
        """Start the agent that the next packet describes; False when the worker has closed the socket."""
        try:
            _, ancillary, _, _ = self.control.recvmsg(
                plumbing.PACKET, socket.CMSG_SPACE(DESCRIPTORS * 4), socket.MSG_CMSG_CLOEXEC
            )
        except ConnectionResetError:
            return False
        if not ancillary:
            return False
        data = ancillary[0][2]
        request, channel, *stdio = (int.from_bytes(data[at : at + 4], sys.byteorder) for at in range(0, len(data), 4))
        self._fork(request, socket.socket(fileno=channel), stdio)
        for fd in (request, *stdio):
            os.close(fd)
        return True

    def _fork(self, request: int, channel: socket.socket, stdio: Sequence[int]) -> None:
        guardian = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            plumbing.tell(channel, b"failed", b"fork", error.errno or 0)
            channel.close()
            return
        if pid == 0:
            self._become_keeper(guardian, request, channel, stdio)
        self.keepers[pid] = channel

    def _become_keeper(self, guardian: int, request: int, channel: socket.socket, stdio: Sequence[int]) -> None:
        """Turn this fork into a keeper; never returns."""
        code = CRASHED
        try:
            self._let_go(guardian)
            fields = plumbing.unpack(os.pread(request, os.fstat(request).st_size, 0))
            os.close(request)
            agents.Keeper(channel, fields, stdio).run()
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is: shown, and never let into the guardian's own code
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _let_go(self, guardian: int) -> None:
        """Close all that is the guardian's, and arrange to die with it."""
        plumbing.prctl(plumbing.PR_SET_NAME, b"coord-keeper")
        plumbing.prctl(plumbing.PR_SET_CHILD_SUBREAPER, 1)
        self.control.close()
        self.wake.close()
        for channel in self.keepers.values():
            channel.close()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        plumbing.prctl(plumbing.PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != guardian:
            os._exit(0)

    def _keeper_gone(self, pid: int, status: int, _seconds: float, _kibibytes: int) -> None:
        channel = self.keepers.pop(pid, None)
        if channel is None:
            self.strays += 1
        elif status == 0:
            channel.close()
        else:
            self.failed.append(channel)

    def _end_strays(self) -> None:
        """End what fell to this process because its keeper was killed, then tell the worker that it is lost."""
        if not self.failed:
            return
        _, survivors = proctree.end_all(self._strays, plumbing.PATIENCE, self._hunt_strays)
        left = [(process.pid, proctree.command_line(process.pid)) for process in survivors]
        while self.failed:
            channel = self.failed.pop()
            plumbing.tell(channel, b"lost", 0, 0, 0, *plumbing.describe(left), *plumbing.describe([]))
            channel.close()

    def _hunt_strays(self) -> bool:
        """Hunt; strays may still live as long as some die (a keeper that lives is none)."""
        before = self.strays
        return self.reaper.hunt() and self.strays != before

    def _strays(self) -> list[proctree.Process]:
        """Return the living descendants that no keeper answers for."""
        return proctree.below(os.getpid(), skip=self.keepers)

    def _close(self) -> None:
        """Have the keepers end their trees, and end what they leave."""
        for keeper in self.keepers:
            os.kill(keeper, signal.SIGTERM)  # our own child, not yet collected: the pid cannot be another's
        deadline = time.monotonic() + plumbing.PATIENCE
        while self.reaper.reap() and self.keepers and (wait := deadline - time.monotonic()) > 0:
            self.wake.wait(wait)
        if self.reaper.reap():
            root = os.getpid()
            proctree.end_all(lambda: proctree.below(root), plumbing.PATIENCE, self.reaper.hunt)
        self._end_strays()


def main() -> None:
    """Run the guardian: argv holds the number of the control socket's descriptor and the worker's pid."""
    control = socket.socket(fileno=int(sys.argv[1]))
    os.set_inheritable(control.fileno(), False)
    plumbing.prctl(plumbing.PR_SET_NAME, b"coord-guardian")
    plumbing.prctl(plumbing.PR_SET_CHILD_SUBREAPER, 1)
    Guardian(control, int(sys.argv[2])).run()


if __name__ == "__main__":
    main()
    os._exit(0)  # there is nothing to tidy up, and the worker waits for this
