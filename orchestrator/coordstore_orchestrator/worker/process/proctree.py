"""Reads /proc, finds the processes below one, and ends them so that none slips away.

The guardian runs this without the rest of the package (``python -I -S``), so it imports the standard library
only, and of that only what loads in a millisecond: `_signal` is `signal` without its enums.

A process is meant by its pid *and* its start time. Where the kernel has pidfds a signal goes through one that
was opened before the start time was compared, so that a reused pid is never hit.
"""

from __future__ import annotations

import errno
import os
import select
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Container
else:
    import _signal as signal

__all__ = [
    "Process",
    "below",
    "command_line",
    "end_all",
    "environment",
    "open_handle",
    "processes",
    "read_file",
    "read_process",
    "send",
]

DEAD = ("Z", "X", "x")
"""States of a process that only waits to be reaped."""

STOP_ROUNDS = 50
"""How often new processes are looked for and stopped before the killing begins: a fork bomb needs a few."""

HANDLES = 64
"""How many deaths are waited for at once; a bomb of thousands must not use up our file descriptors."""

STEP_MS = 50
"""How long one wait for deaths lasts at most, in milliseconds, before /proc is read again."""


class Process:
    """What /proc/PID/stat says of one process.

    Args:
        pid: Its process id.
        parent: Its parent's process id.
        group: Its process group, also after its end until it is collected.
        state: One letter, as in ``ps``.
        start: When it started, in clock ticks since boot.
    """

    __slots__ = ("group", "parent", "pid", "start", "state")

    def __init__(self, pid: int, parent: int, group: int, state: str, start: int) -> None:
        self.pid = pid
        self.parent = parent
        self.group = group
        self.state = state
        self.start = start

    def __repr__(self) -> str:
        return f"Process({self.pid}, parent={self.parent}, state={self.state!r}, start={self.start})"


def read_process(pid: int) -> Process | None:
    """Return what is known of a process, or None where there is none (any more)."""
    data = read_file(f"/proc/{pid}/stat")
    if data is None:
        return None
    # The command's name stands in parentheses and may hold spaces and parentheses of its own.
    fields = data[data.rindex(b")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[2]), fields[0].decode(), int(fields[19]))


def processes() -> list[Process]:
    """Return every process that this one can see, zombies included."""
    found = (read_process(int(name)) for name in os.listdir("/proc") if name.isdigit())  # noqa: PTH208 - pathlib costs the guardian 10 ms
    return [process for process in found if process is not None]


def below(root: int, skip: Container[int] = ()) -> list[Process]:
    """Return the living descendants of a process.

    Args:
        root: The process; it is not among them.
        skip: Pids to leave out together with all below them.
    """
    children: dict[int, list[Process]] = {}
    for process in processes():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    todo = [root]
    while todo:
        for child in children.pop(todo.pop(), ()):
            if child.pid not in skip:
                found.append(child)
                todo.append(child.pid)
    return [process for process in found if process.state not in DEAD]


def command_line(pid: int) -> list[bytes]:
    """Return a process's arguments, or its name in brackets where it has none; empty where it is gone."""
    data = read_file(f"/proc/{pid}/cmdline")
    if data:
        return data.rstrip(b"\0").split(b"\0")
    name = read_file(f"/proc/{pid}/comm")
    return [] if name is None else [b"[" + name.strip() + b"]"]


def environment(pid: int) -> list[bytes]:
    """Return the environment that a process was started with; empty where it is gone or another user's."""
    return (read_file(f"/proc/{pid}/environ") or b"").split(b"\0")


def send(process: Process, number: int) -> bool:
    """Send a signal to exactly this process.

    Returns:
        False when it is gone, also when its pid now belongs to another.

    Raises:
        PermissionError: It belongs to another user.
    """
    handle = open_handle(process.pid)
    try:
        now = read_process(process.pid)
        if now is None or now.start != process.start:
            return False
        if handle is None:
            os.kill(process.pid, number)
        else:
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return False
    finally:
        if handle is not None:
            os.close(handle)
    return True


def end_all(
    find: Callable[[], list[Process]], seconds: float, hunt: Callable[[], bool] | None = None
) -> tuple[list[Process], list[Process]]:
    """Kill whatever `find` finds, again and again, until it finds nothing.

    Everything is stopped before anything is killed: a stopped process forks no successor, and a parent does
    not restart the child it saw dying.

    Args:
        find: Returns the living processes to end; called many times.
        seconds: When to give up on processes that do not die (uninterruptible, or another user's).
        hunt: For a reaper: collects its dead children and their kin, see `plumbing.Reaper.hunt`, and returns
            whether any may still live. It has the last word: a look at /proc can miss one that forks on and exits.

    Returns:
        What was killed, and what was still alive at the end.
    """
    deadline = time.monotonic() + seconds
    killed: dict[tuple[int, int], Process] = {}
    while True:
        alive = _stop_all(find, hunt)
        over = not alive and (hunt is None or not hunt())
        if over or time.monotonic() > deadline:
            survivors = {(process.pid, process.start) for process in alive}
            return [process for key, process in killed.items() if key not in survivors], alive
        for process in alive:
            killed[process.pid, process.start] = process
            _try_send(process, signal.SIGKILL)
        _await_deaths(alive)


def _stop_all(find: Callable[[], list[Process]], hunt: Callable[[], bool] | None) -> list[Process]:
    """Stop processes until no new one turns up; return those alive at the last look."""
    stopped: set[tuple[int, int]] = set()
    alive: list[Process] = []
    for _ in range(STOP_ROUNDS):
        alive = find()
        fresh = [process for process in alive if (process.pid, process.start) not in stopped]
        if not fresh:
            break
        for process in fresh:
            stopped.add((process.pid, process.start))
            _try_send(process, signal.SIGSTOP)
        if hunt is not None:
            hunt()
    return alive


def _try_send(process: Process, number: int) -> None:
    """Send a signal; another user's process cannot be reached and shows up as a survivor."""
    try:
        send(process, number)
    except PermissionError:
        return


def _await_deaths(dying: list[Process]) -> None:
    """Wait a moment for killed processes to die."""
    poll = select.poll()
    waiting = {handle for process in dying[:HANDLES] if (handle := open_handle(process.pid)) is not None}
    if not waiting:
        poll.poll(1)  # no pidfds here: only let go of the processor before looking again
    for handle in waiting:
        poll.register(handle, select.POLLIN)
    while waiting and (ready := poll.poll(STEP_MS)):
        for handle, _ in ready:
            poll.unregister(handle)
            waiting.discard(handle)
            os.close(handle)
    for handle in waiting:
        os.close(handle)


def open_handle(pid: int) -> int | None:
    """Open a pidfd; None where the process is gone or the kernel (or a container's filter) has no pidfds."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if error.errno in {errno.ESRCH, errno.ENOSYS, errno.EPERM, errno.EINVAL}:
            return None
        raise


def read_file(path: str) -> bytes | None:
    """Return a file of /proc, or None where its process is gone or another user's."""
    try:
        # /proc answers from memory: reading it never blocks, and the flag says so to whoever checks.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            data = b""
            while piece := os.read(handle, 1 << 16):
                data += piece
            return data
        finally:
            os.close(handle)
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return None
