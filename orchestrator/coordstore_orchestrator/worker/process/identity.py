"""Says which process is meant, so that no signal ever reaches a stranger with a reused pid.

A pid alone names whoever has it now. With its start time and the boot it names one process for ever; a worker
stores that, and a later one can ask whether the process still lives, or end what a dead worker has left.
"""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordstore_orchestrator.worker.process import plumbing, proctree
from coordstore_orchestrator.worker.process.errors import SignalRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "MARKER",
    "Leftover",
    "ProcessIdentity",
    "end_leftovers",
    "find_marked",
    "is_alive",
    "is_dead",
    "own_holder",
    "process_identity",
    "signal_process",
]

MARKER = "COORD_RUN"
"""The environment variable that every agent of one run carries, with the run's token."""

INIT = 1


@dataclass(frozen=True, slots=True)
class ProcessIdentity:
    """One process, for ever.

    Args:
        boot_id: The boot it runs in.
        pid: Its process id.
        start_ticks: When it started, in clock ticks since that boot.
    """

    boot_id: str
    pid: int
    start_ticks: int


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process that an agent left behind.

    Args:
        pid: Its process id while it lived; 0 of one that forked on and on and was not seen for long enough.
        argv: Its arguments, shortened where they were long, empty where nobody had seen them.
    """

    pid: int
    argv: tuple[str, ...]

    @classmethod
    def of(cls, pid: int, argv: list[bytes]) -> Leftover:
        """Make one from the bytes that /proc holds."""
        return cls(pid, tuple(argument.decode(errors="replace") for argument in argv))


@functools.cache
def boot_id() -> str:
    """Return this boot's id."""
    return (proctree.read_file("/proc/sys/kernel/random/boot_id") or b"").decode("ascii").strip()


@functools.cache
def pid_namespace() -> int:
    """Return the number of the namespace that our pids belong to; containers on one host share the boot, not this."""
    handle = os.open("/proc/self/ns/pid", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.fstat(handle).st_ino
    finally:
        os.close(handle)


def own_holder() -> dict[str, Any]:
    """Return the record by which others know this process: host, boot, pids, pid, start and a new run token.

    It goes into the store where this process leads or claims something; `is_dead` reads it.
    """
    own = process_identity(os.getpid())
    return {
        "host": os.uname().nodename,
        "boot": own.boot_id,
        "pids": pid_namespace(),
        "pid": own.pid,
        "start": own.start_ticks,
        "run": secrets.token_hex(8),
    }


def is_dead(holder: Mapping[str, Any]) -> bool:
    """Return whether the process of such a record is known to be gone.

    Known is only what can be seen from here: of another host, boot or pid namespace, or a record that is not one
    of ours, nothing is known, and the answer is False.
    """
    pid, start = holder.get("pid"), holder.get("start")
    if (holder.get("boot"), holder.get("pids")) != (boot_id(), pid_namespace()):
        return False
    if type(pid) is not int or type(start) is not int:
        return False
    return not is_alive(ProcessIdentity(boot_id(), pid, start))


def process_identity(pid: int) -> ProcessIdentity:
    """Return the identity of a process that lives now.

    Raises:
        ProcessLookupError: There is none with that pid.
    """
    known = proctree.read_process(pid)
    if known is None:
        message = f"no process has the pid {pid}"
        raise ProcessLookupError(message)
    return ProcessIdentity(boot_id(), pid, known.start)


def is_alive(identity: ProcessIdentity) -> bool:
    """Return whether this very process still runs; one that only waits to be collected does not."""
    return _living(identity) is not None


def signal_process(identity: ProcessIdentity, number: int) -> bool:
    """Send a signal to this very process, through a pidfd where the kernel has them.

    Returns:
        False when it is gone; nothing was sent then, also not to another process that has its pid now.

    Raises:
        SignalRefused: No agent can be meant: pid 1 or lower, this process, or one in its process group.
        PermissionError: It belongs to another user.
    """
    if identity.pid <= INIT:
        message = f"signal {number} to pid {identity.pid} refused: that is no single process of ours"
        raise SignalRefused(message)
    known = _living(identity)
    if known is None:
        return False
    if _shares_our_group(identity.pid):
        message = (
            f"signal {number} to pid {identity.pid} refused: agents run in groups of their own, this one is in ours"
        )
        raise SignalRefused(message)
    return proctree.send(known, number)


def find_marked(token: str) -> list[int]:
    """Return the pids of the living processes whose environment carries this run's token, not our own.

    It reads all of /proc: call it in a thread. It sees the environment that a process was started with, so it is
    the second net behind the guardian, for a worker that takes over from one that was killed with its guardian.
    """
    return [process.pid for process in _marked(token)]


async def end_leftovers(token: str, seconds: float = plumbing.PATIENCE, session: str | None = None) -> list[Leftover]:
    """Kill every process that carries a run's token, and all below them.

    Only for a run whose worker is known to be dead. This process and its ancestors are spared. Cancelled, the
    killing goes on in its thread.

    Args:
        token: The run's token; an empty one marks nothing.
        seconds: When to give up on what does not die.
        session: The session whose agents alone are meant, when the token comes from a record that others may have
            written: one of another session's run kills nothing then.

    Returns:
        What was killed.
    """
    return await asyncio.to_thread(_end_marked, token, seconds, session) if token else []


def _end_marked(token: str, seconds: float, session: str | None) -> list[Leftover]:
    seen: dict[int, Leftover] = {}

    def find() -> list[proctree.Process]:
        found = {process.pid: process for process in _marked(token, session)}
        spared = _ancestors()
        for pid in list(found):
            found |= {process.pid: process for process in proctree.below(pid, skip=spared)}
        for pid in found:
            seen.setdefault(pid, Leftover.of(pid, proctree.command_line(pid)))
        return list(found.values())

    killed, _ = proctree.end_all(find, seconds)
    return [seen[process.pid] for process in killed]


def _living(identity: ProcessIdentity) -> proctree.Process | None:
    if identity.boot_id != boot_id():
        return None
    known = proctree.read_process(identity.pid)
    if known is None or known.start != identity.start_ticks or known.state in proctree.DEAD:
        return None
    return known


def _shares_our_group(pid: int) -> bool:
    try:
        return os.getpgid(pid) == os.getpgrp()
    except ProcessLookupError:
        return False


def _marked(token: str, session: str | None = None) -> list[proctree.Process]:
    wanted = {f"{MARKER}={token}".encode()} | ({f"COORD_SESSION={session}".encode()} if session else set())
    spared = _ancestors()
    return [
        process
        for process in proctree.processes()
        if process.pid not in spared
        and process.state not in proctree.DEAD
        and wanted <= set(proctree.environment(process.pid))
    ]


def _ancestors() -> set[int]:
    """Return this process and those above it."""
    line: set[int] = set()
    pid = os.getpid()
    while pid > 0 and pid not in line:
        line.add(pid)
        known = proctree.read_process(pid)
        pid = known.parent if known else 0
    return line
