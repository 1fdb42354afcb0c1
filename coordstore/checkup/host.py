"""Looks at what stores on one host stand on: a private directory and files, a local disk with room, a lock.

For backends to use in their check-ups; nothing here creates or changes anything; a lock that is had is given back at
once.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from coordstore.checkup.finding import Finding
from coordstore.checkup.processes import state_of
from coordstore.errors import CoordError, Unsupported
from coordstore.hostkit.line import Place
from coordstore.hostkit.paths import check_file, file_system, prepare_directory, refuse_network

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["disk", "lock", "ownership", "refused"]

_LITTLE: Final = 1024**3
_TOO_LITTLE: Final = 64 * 1024**2
"""Bytes free: below the first a warning, below the second a problem."""
_FEW_NAMES: Final = 1000
_TRIES: Final = 20
_PAUSE: Final = 0.01
_LINE: Final = 2.0
"""Seconds between looks whether the lock is free, and in line for it."""
_STOPPED: Final = "T"


def refused(check: str, error: Exception) -> Finding:
    """Return the problem that an error tells of; the part behind the colon is what to do."""
    text, _, advice = str(error).rpartition(": ")
    return Finding.problem(check, text or advice, advice if text else "look at the path and who owns it")


def ownership(directory: Path, files: Iterable[Path]) -> Iterator[Finding]:
    """Look at whose a store's directory and files are, and who else may use them; blocks."""
    wrong = []
    try:
        prepare_directory(directory)
    except CoordError as error:
        wrong.append(refused("permissions", error))
    for path in files:
        try:
            check_file(path)
        except CoordError as error:
            wrong.append(refused("permissions", error))
    yield from wrong or [Finding.ok("permissions", f"{directory} and the store's files are this user's alone")]


def disk(directory: Path, scheme: str, *, allow_network: bool = False) -> Iterator[Finding]:
    """Look at the file system that a store lies on: its kind, its room; blocks."""
    kind = file_system(directory) or "unknown"
    try:
        refuse_network(directory, scheme)
    except Unsupported as error:
        advice = "move the store to a local disk, or use etcd: across hosts"
        say = Finding.warning if allow_network else Finding.problem
        yield say("file system", str(error), advice)
    else:
        yield Finding.ok("file system", f"{directory} is on a local file system ({kind})")
    room = os.statvfs(directory)
    free, names = room.f_bavail * room.f_frsize, room.f_favail
    text = f"{free / 1024**2:,.0f} MiB free below {directory}"
    if free < _TOO_LITTLE or (room.f_files and names < _FEW_NAMES):
        yield Finding.problem("disk space", f"{text}, {names} more files", "make room: writes are about to fail")
    elif free < _LITTLE:
        yield Finding.warning("disk space", text, "make room before writes fail")
    else:
        yield Finding.ok("disk space", text)


def lock(path: Path) -> Finding:
    """Look at who holds a store's lock file, for how long, and whether that process can go on; blocks."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return Finding.ok("lock", "nobody has written yet since the store was made or moved")
    except OSError as error:
        return Finding.problem("lock", f"{path} cannot be read ({error.strerror})", "look at whose file it is")
    try:
        free = any(_free(descriptor, again) for again in range(_TRIES))
        words = os.pread(descriptor, 128, 0).decode(errors="replace").split()
    finally:
        os.close(descriptor)
    pid = int(words[1]) if words[:1] == ["pid"] and len(words) > 1 and words[1].isdigit() else 0
    host = words[3] if words[2:3] == ["host"] and len(words) > 3 else ""  # noqa: PLR2004  (pid N host NAME)
    who = f"process {pid} on {host}"
    if not free and host == os.uname().nodename and state_of(pid) == _STOPPED:
        advice = f"kill -CONT {pid}, or kill it: nobody can write"
        return Finding.problem("lock", f"held by {who}, which is stopped", advice)
    if free or _comes_to_us(path):
        return Finding.ok("lock", f"free; {who} wrote last" if pid else "free")
    advice = "look at that process when this lasts: others wait for it and give up after some seconds"
    return Finding.warning("lock", f"held by {who} for more than {_LINE:g} s", advice)


def _free(descriptor: int, again: int) -> bool:
    """Tell whether the lock can be had, and give it back at once; a writer has it for milliseconds."""
    if again:
        time.sleep(_PAUSE)
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        return True
    return False


def _comes_to_us(path: Path) -> bool:
    """Stand in line as a writer would, and give the lock back at once: in a busy store it is hardly ever free."""
    with contextlib.suppress(OSError):
        place = Place(path)
        if place.wait(_LINE):
            place.leave()
            return True
    return False
