"""Tells of a process that noted itself in a store whether it is known to be gone.

A pid alone names whoever has it now; with the boot, the namespace and the start time it names one process for ever.
Of another host, boot or namespace, or on a system that does not tell, nothing is known.
"""

from __future__ import annotations

import functools
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import Unsupported
from coordstore.hostkit import boot_id

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["is_dead", "own_record", "state_of"]

_DEAD: Final = frozenset("ZX")
_PROC: Final = Path("/proc")
_STATE, _START = 0, 19
"""Which fields behind the name in /proc/PID/stat they are."""


def own_record() -> dict[str, Any]:
    """Return what this process notes of itself: host, boot, pids (its namespace), pid and start; blocks."""
    fields = _fields(os.getpid())
    start = int(fields[_START]) if fields else None
    return {"host": os.uname().nodename, "boot": _boot(), "pids": _namespace(), "pid": os.getpid(), "start": start}


def is_dead(record: Mapping[str, Any]) -> bool:
    """Tell whether the process of such a record is known to be gone; blocks."""
    pid, start = record.get("pid"), record.get("start")
    if not _boot() or (record.get("boot"), record.get("pids")) != (_boot(), _namespace()):
        return False
    if type(pid) is not int or type(start) is not int:
        return False
    fields = _fields(pid)
    return fields is None or int(fields[_START]) != start or fields[_STATE] in _DEAD


def state_of(pid: int) -> str:
    """Return the letter of a process's state (``T``: stopped), empty when there is no such process; blocks."""
    fields = _fields(pid)
    return fields[_STATE] if fields else ""


def _fields(pid: int) -> list[str] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


@functools.cache
def _boot() -> str:
    try:
        return str(uuid.UUID(bytes=boot_id()))
    except Unsupported:
        return ""


@functools.cache
def _namespace() -> int:
    try:
        return Path("/proc/self/ns/pid").stat().st_ino
    except OSError:
        return 0
