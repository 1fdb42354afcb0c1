"""Directories and files that belong to this user alone, on a file system whose locks can be trusted."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore.errors import Corrupt, Unavailable, Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "check_file",
    "create_file",
    "file_system",
    "prepare_directory",
    "refuse_network",
    "sync_directory",
]

_NETWORK: Final = frozenset(
    (
        *("9p", "afs", "beegfs", "ceph", "cifs", "coda", "davfs", "fhgfs", "gfs2", "glusterfs", "gpfs", "lustre"),
        *("ncpfs", "nfs", "nfs4", "ocfs2", "orangefs", "pvfs2", "smb", "smb2", "smb3", "smbfs", "vboxsf", "virtiofs"),
        "vmhgfs",
    )
)
_LOCAL_FUSE: Final = frozenset(("fuse.bindfs", "fuse.encfs", "fuse.fuse-overlayfs", "fuse.gocryptfs", "fuse.mergerfs"))
_ESCAPE: Final = re.compile(r"\\([0-7]{3})")
_MOUNTS: Final = Path("/proc/self/mountinfo")


def prepare_directory(path: Path) -> None:
    """Create a directory with mode 0700, parents included, or check one that is there; blocks.

    Raises:
        Unavailable: It belongs to somebody else, others may write in it, it is a symbolic link, or it cannot be made;
            or the way to it leads through what somebody else put into a directory of everybody's.
    """
    _check_way(path)
    try:
        _make(path)
        opened = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if path.is_symlink():
            message = f"{path} is a symbolic link: name the directory it leads to ({path.resolve()})"
            raise Unavailable(message) from error
        message = f"the directory {path} cannot be used ({error.strerror}): choose another path"
        raise Unavailable(message) from error
    try:
        _check_directory(path, os.fstat(opened))
    finally:
        os.close(opened)
    _check_way(path)  # again: what was absent before may have been planted just then, and cannot be any more


def check_file(path: Path) -> os.stat_result | None:
    """Return what a file of ours is, None when there is nothing; blocks, and never opens it.

    Raises:
        Corrupt: It is a directory, a pipe or the like.
        Unavailable: It is a link, belongs to somebody else or is open to others.
    """
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{path} cannot be looked at ({error.strerror})"
        raise Unavailable(message) from error
    if stat.S_ISLNK(found.st_mode):
        message = f"{path} is a symbolic link: name the file it leads to"
        raise Unavailable(message)
    if not stat.S_ISREG(found.st_mode):
        message = f"{path} is no regular file: choose another path"
        raise Corrupt(message)
    if found.st_uid != os.geteuid() or found.st_nlink > 1:
        reason = "has a second name (hard link)" if found.st_nlink > 1 else f"belongs to user {found.st_uid}"
        message = f"{path} {reason}: it may have been planted; choose another path"
        raise Unavailable(message)
    if stat.S_IMODE(found.st_mode) & 0o077:
        message = f"{path} is open to other users: chmod 600 {path}"
        raise Unavailable(message)
    return found


def create_file(path: Path) -> int:
    """Create a file that must be absent, with mode 0600 whatever the umask, and return its descriptor; blocks.

    Raises:
        OSError: It is there (`FileExistsError`), or cannot be made.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def sync_directory(path: Path) -> None:
    """Make the names in a directory survive a power cut; blocks.

    Raises:
        OSError: The sync failed.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def refuse_network(path: Path, scheme: str, mounts: Path = _MOUNTS) -> None:
    """Refuse a directory on a network file system, whose locks and shared memory cannot be trusted; blocks.

    Args:
        path: The directory, which exists.
        scheme: The backend, for the message.
        mounts: The kernel's table of mounts.

    Raises:
        Unsupported: It is on one; the type is named.
    """
    kind = file_system(path, mounts)
    if kind in _NETWORK or (kind.startswith("fuse.") and kind not in _LOCAL_FUSE):
        message = (
            f"{path} is on a network file system ({kind}), where {scheme}: cannot be right: "
            "use a local path, or etcd: across hosts (allow_network_fs=1 overrides this at your own risk)"
        )
        raise Unsupported(message)


def file_system(path: Path, mounts: Path = _MOUNTS) -> str:
    """Return the type of the file system that a path is on, empty when the system does not tell; blocks."""
    try:
        lines = mounts.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        device = path.stat().st_dev
    except OSError:
        return ""
    number = f"{os.major(device)}:{os.minor(device)}"
    rows = [(line.split(" "), line.partition(" - ")[2].split(" ")[0]) for line in lines]
    by_number = [kind for fields, kind in rows if fields[2] == number]
    return by_number[-1] if by_number else _by_mount_point(path, rows)


def _by_mount_point(path: Path, rows: list[tuple[list[str], str]]) -> str:
    """Find the deepest mount point above a path: btrfs and overlays show other device numbers than their mounts."""
    real, found = str(path.resolve()), ("", "")
    for fields, kind in rows:
        point = _ESCAPE.sub(lambda found: chr(int(found[1], 8)), fields[4]).rstrip("/")
        if (real == point or real.startswith(point + "/")) and len(point) >= len(found[0]):
            found = (point, kind)
    return found[1]


def _check_way(path: Path) -> None:
    """Refuse a way through a link or directory that somebody else put where everybody may, and can exchange any time.

    Linux does so by itself for links, where ``fs.protected_symlinks`` is set.
    """
    for way in {path, Path(os.path.realpath(path))}:
        for step in way.parents:
            holder = _found(os.stat, step.parent)
            planted = _found(os.lstat, step)
            if holder is None or planted is None or not holder.st_mode & stat.S_IWOTH:
                continue
            if planted.st_uid not in (0, os.geteuid(), holder.st_uid):
                message = f"{step}, on the way to {path}, belongs to user {planted.st_uid}: use a directory of your own"
                raise Unavailable(message)


def _found(look: Callable[[Path], os.stat_result], path: Path) -> os.stat_result | None:
    try:
        return look(path)
    except OSError:
        return None  # whoever goes that way is told


def _make(path: Path) -> None:
    missing = []
    for folder in (path, *path.parents):
        if os.path.lexists(folder):
            break
        missing.append(folder)
    for folder in reversed(missing):
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            continue


def _check_directory(path: Path, found: os.stat_result) -> None:
    sticky = bool(found.st_mode & stat.S_ISVTX)  # as /tmp: nobody can remove or rename what is ours there
    if found.st_uid != os.geteuid() and not (sticky and found.st_uid == 0):
        message = f"the directory {path} belongs to user {found.st_uid}: use a directory of your own"
        raise Unavailable(message)
    if stat.S_IMODE(found.st_mode) & 0o022 and not sticky:
        message = f"others may write in the directory {path}: chmod go-w {path}, or use a private directory"
        raise Unavailable(message)
