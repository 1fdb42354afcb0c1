"""What guardian and keepers share: packets, process attributes, signals as bytes on a pipe, collecting children.

Like `proctree` it loads alone and fast, so it takes the C modules where the standard library's front ends would
cost milliseconds. A packet is fields between NULs, which no argument and no environment variable can hold.
"""

from __future__ import annotations

import ctypes
import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    import socket
    from collections.abc import Callable
else:
    import _signal as signal

__all__ = [
    "PATIENCE",
    "PR_SET_CHILD_SUBREAPER",
    "PR_SET_NAME",
    "PR_SET_PDEATHSIG",
    "Wake",
    "describe",
    "pack",
    "prctl",
    "reap",
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


def reap(on_exit: Callable[[int, int, float, int], None]) -> bool:
    """Collect every child that has exited.

    Args:
        on_exit: Called with pid, wait status, processor seconds and the peak resident size in KiB.

    Returns:
        Whether any child is left.
    """
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return False
        if pid == 0:
            return True
        on_exit(pid, status, usage.ru_utime + usage.ru_stime, usage.ru_maxrss)


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
