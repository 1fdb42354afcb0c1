"""Landlock: a process gives up writing anywhere but below some paths, for itself and all it starts, for good.

Loads alone and fast, as `plumbing` does. Reading, the network and signals are not restricted. The kernel may not have
it: `abi` tells, and nobody may rely on it without having asked.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["abi", "restrict"]

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Numbers of the system calls, the same on every architecture."""
VERSION = 1
PATH_BENEATH = 1
PR_SET_NO_NEW_PRIVS = 38

WRITE_FILE = 1 << 1
TREE = sum(1 << bit for bit in range(4, 13))
"""Removing and making files, folders, links, sockets, devices."""
REFER, TRUNCATE = 1 << 13, 1 << 14
"""Known from the second and the third version on."""

libc = ctypes.CDLL(None, use_errno=True)


def abi() -> int:
    """Return the version that the kernel has; 0: none."""
    return max(0, int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), ctypes.c_uint32(VERSION))))


def restrict(writable: Sequence[bytes]) -> None:
    """Give up writing anywhere but at and below some paths; those that do not exist are left out.

    Args:
        writable: Folders and files.

    Raises:
        OSError: The kernel refused, or has no Landlock.
    """
    version = abi()
    rights = WRITE_FILE | TREE | (REFER if version > 1 else 0) | (TRUNCATE if version > 2 else 0)  # noqa: PLR2004  (the versions that brought them)
    attributes = struct.pack("Q", rights)
    ruleset = _call(CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), ctypes.c_uint32(0))
    try:
        for path in writable:
            _allow(ruleset, path, rights)
        if libc.prctl(PR_SET_NO_NEW_PRIVS, ctypes.c_ulong(1), 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), "prctl")
        _call(RESTRICT_SELF, ctypes.c_int(ruleset), ctypes.c_uint32(0))
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: bytes, rights: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            rights &= WRITE_FILE | TRUNCATE
        rule = struct.pack("=Qi", rights, handle)
        _call(ADD_RULE, ctypes.c_int(ruleset), ctypes.c_int(PATH_BENEATH), rule, ctypes.c_uint32(0))
    finally:
        os.close(handle)


def _call(number: int, *arguments: object) -> int:
    found = int(libc.syscall(number, *arguments))
    if found < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), "landlock")
    return found
