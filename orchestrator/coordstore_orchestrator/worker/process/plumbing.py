"""What guardian and keepers share: packets, process attributes, signals as bytes on a pipe, collecting children.

Like `proctree` it loads alone and fast, so it takes the C modules where the standard library's front ends would
cost milliseconds. A packet is fields between NULs, which no argument and no environment variable can hold.
"""

from __future__ import annotations

import ctypes
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
else:
    import _signal as signal

if TYPE_CHECKING or __package__:
    from coordstore_orchestrator.worker.process import proctree
else:
    import proctree

__all__ = [
    "PATIENCE",
    "PR_SET_CHILD_SUBREAPER",
    "PR_SET_NAME",
    "PR_SET_PDEATHSIG",
    "Reaper",
    "Wake",
    "describe",
    "pack",
    "prctl",
    "receive",
    "tell",
    "unpack",
]

PACKET = 1 << 17
"""Room for one packet, in bytes; nothing that is sent comes near."""

REPORT = 1 << 15
"""How many bytes of arguments a report carries at most; the processes after that come without."""

REPORTED = 5000
"""How many processes a report names at most."""

PATIENCE = 10.0
"""Seconds after which a process that does not die of SIGKILL is reported as a survivor."""

HUNT = 0.2
"""Seconds that one hunt for a process that forks on lasts at most."""

HUNT_STEP = 0.005
"""Seconds without a death after which a hunt has lost the track."""

PR_SET_PDEATHSIG = 1
PR_SET_NAME = 15
PR_SET_CHILD_SUBREAPER = 36

libc = ctypes.CDLL(None, use_errno=True)


def pack(*fields: bytes | str | int) -> bytes:
    """Join fields into a packet."""
    return b"\0".join(field if isinstance(field, bytes) else os.fsencode(str(field)) for field in fields)


def unpack(packet: bytes) -> list[bytes]:
    """Split a packet into its fields."""
    return packet.split(b"\0")


def prctl(option: int, value: int | bytes) -> None:
    """Set an attribute of this process.

    Raises:
        OSError: The kernel refused.
    """
    if libc.prctl(option, value if isinstance(value, bytes) else ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"prctl({option})")


class Wake:
    """Turns SIGCHLD and SIGTERM into bytes on a pipe, so that one `poll` waits for everything."""

    def __init__(self) -> None:
        self.fd, self._end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(self._end, warn_on_full_buffer=False)
        self.told_to_stop = False
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self.told_to_stop = True

    def wait(self, seconds: float) -> bool:
        """Wait for a signal; return whether one came."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        came = bool(poll.poll(int(seconds * 1000) + 1))
        self.clear()
        return came

    def clear(self) -> None:
        """Forget the wake-ups so far."""
        try:
            while os.read(self.fd, 4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        """Take the signals off the pipe; a fork makes one of its own."""
        signal.set_wakeup_fd(-1)
        os.close(self.fd)
        os.close(self._end)


class Reaper:
    """Collects this process's children, those it adopted too.

    Args:
        wake: Tells when one ends.
        on_exit: Called with pid, wait status, processor seconds and the peak resident size in KiB of each.
    """

    def __init__(self, wake: Wake, on_exit: Callable[[int, int, float, int], None]) -> None:
        self.wake = wake
        self.on_exit = on_exit

    def reap(self) -> bool:
        """Collect every child that has ended; return whether any child is left."""
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            self.on_exit(pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)

    def hunt(self) -> bool:
        """Collect every child that has ended, and kill its process group first; return whether any child is left.

        One that forks on and exits for ever is gone before it can be found in /proc, but its exited forebears fall
        to us. As long as one of them is not collected its group's number belongs to nobody else, so that the
        signal hits only its kin. While there is such prey it goes on, from death to death, for a while.
        """
        deadline = time.monotonic() + HUNT
        while (left := self._hunt_once()) is not None:
            if not left or time.monotonic() > deadline or not self.wake.wait(HUNT_STEP):
                return self.reap()
        return True

    def _hunt_once(self) -> bool | None:
        """Kill the groups of the dead and collect them; None: nobody had died, False: nobody is left."""
        prey = None
        while True:
            try:
                dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return False
            if dead is None:
                return prey
            prey = True
            _kill_group(dead.si_pid)
            pid, status, usage = os.wait4(dead.si_pid, 0)
            self.on_exit(pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


def _kill_group(pid: int) -> None:
    """Kill what is left of the process group of a child that waits to be collected, unless it is our own group."""
    known = proctree.read_process(pid)
    if known is not None and known.group not in {0, os.getpgrp()}:
        try:
            os.killpg(known.group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            return


def tell(channel: socket.socket, *fields: bytes | str | int) -> None:
    """Send a packet to the worker; one that is gone needs none."""
    try:
        channel.send(pack(*fields))
    except (BrokenPipeError, ConnectionResetError):
        return


def receive(channel: socket.socket) -> bytes:
    """Return the next packet, empty when the other side is gone."""
    try:
        return channel.recv(PACKET)
    except ConnectionResetError:  # it closed before it had read everything
        return b""


def describe(processes: list[tuple[int, list[bytes]]]) -> list[bytes | str | int]:
    """Return processes as fields: how many, then pid, number of arguments and arguments of each."""
    listed = processes[:REPORTED]
    fields: list[bytes | str | int] = [len(listed)]
    room = REPORT
    for pid, argv in listed:
        short = [argument[:200] for argument in argv[:16]]
        room -= sum(map(len, short)) + len(short)
        if room < 0:
            short = []
        fields += [pid, len(short), *short]
    return fields
