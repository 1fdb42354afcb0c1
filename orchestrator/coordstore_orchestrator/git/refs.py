"""Read and write refs of our own repositories, by the file format and lock protocol that git uses itself.

Only for repositories that we made (loose refs and `packed-refs`): the user's refs are git's business.
"""

from __future__ import annotations

import os
import re
import threading
import time
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.errors import GitError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["private_folder", "read_head", "read_ref", "write_file", "write_ref"]

_OID: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_BRANCH: Final = re.compile(r"refs/[^\x00-\x20\x7f~^:?*\[\\]+")
SMALL: Final = 4096
PATIENCE_OF_GIT: Final = 0.1
"""Seconds that git itself waits for a ref's lock (`core.filesRefLockTimeout`)."""
PATIENCE: Final = 1.0
"""Seconds after which a lock that never changed is a dead process's."""
LOOK_AGAIN: Final = 0.002


def read_head(git_dir: Path, common: Path) -> tuple[str | None, str | None]:
    """Return the branch that a HEAD stands on (None: detached) and its commit (None: no commit yet).

    Args:
        git_dir: The worktree's own git directory.
        common: The repository's common directory.

    Raises:
        GitError: HEAD is missing or unreadable.
    """
    text = _small(git_dir / "HEAD")
    if text is None:
        message = f"{str(git_dir / 'HEAD')!r} is missing or unreadable: the worktree is damaged"
        raise GitError(message)
    branch = text.removeprefix("ref:").strip()
    if not text.startswith("ref:"):
        return None, _oid(text)
    return branch, read_ref(common, branch)


def read_ref(common: Path, name: str) -> str | None:
    """Return the object id that a ref names, or None when there is none.

    Args:
        common: The repository's common directory.
        name: The full name, as `refs/heads/x`; symbolic refs are followed.
    """
    for _ in range(5):
        if not _BRANCH.fullmatch(name) or ".." in name:
            return None
        text = _small(common / name)
        if text is None:
            return _packed(common, name)
        if not text.startswith("ref:"):
            return _oid(text)
        name = text.removeprefix("ref:").strip()
    return None


def _oid(text: str) -> str | None:
    return text if _OID.fullmatch(text) else None


def _small(path: Path) -> str | None:
    """Return a small file's text, never following a symlink to somewhere else."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(SMALL).decode("utf-8", "surrogateescape").strip()
    except OSError:
        return None


def _packed(common: Path, name: str) -> str | None:
    try:
        lines = (common / "packed-refs").read_bytes().splitlines()
    except OSError:
        return None
    wanted = b" " + os.fsencode(name)
    found = next((line for line in lines if line.endswith(wanted) and not line.startswith((b"#", b"^"))), None)
    return None if found is None else _oid(found.split(b" ")[0].decode("ascii", "replace"))


def write_ref(path: Path, value: str, *, break_lock: bool = False, durable: bool = False) -> None:
    """Set a ref (or a HEAD) to an object id or to `ref: …`, as one atomic step.

    Args:
        path: The ref's file.
        value: What it shall hold.
        break_lock: Whether a lock that stays there can only be a dead process's.
        durable: Whether it is on the disk on return.

    Raises:
        GitError: A lock is held, or a folder is in the way.
    """
    lock = path.with_name(path.name + ".lock")
    private_folder(path.parent)
    _take(lock, value.encode() + b"\n", break_lock=break_lock, durable=durable)
    try:
        lock.replace(path)
    except OSError as error:
        lock.unlink(missing_ok=True)
        message = f"cannot write the ref {str(path)!r}: {error.strerror}; a branch below that name may be in the way"
        raise GitError(message) from error


def _take(lock: Path, data: bytes, *, break_lock: bool, durable: bool) -> None:
    """Create a lock file with the new value in it, waiting for another holder as git does.

    Also a dead agent's lock is waited for: `git gc` in any worktree takes the lock of each ref for an instant, and a
    lock taken from under it would cost the new value.
    """
    until = time.monotonic() + (PATIENCE if break_lock else PATIENCE_OF_GIT)
    first = None
    while True:
        try:
            return _fill(lock, data, durable=durable)
        except FileExistsError as error:
            held = _identity(lock)
            first = first or held
            if time.monotonic() < until or held is None:
                time.sleep(LOOK_AGAIN)  # git's lock files have nothing to wait on
            elif break_lock and held == first:
                lock.unlink(missing_ok=True)
            else:
                message = f"{str(lock)!r} exists: another git holds it; if none runs any more, remove that lock file"
                raise GitError(message) from error


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def private_folder(path: Path) -> None:
    """Make a folder, and those around it that are missing, for its owner only.

    Args:
        path: The folder.
    """
    if not path.parent.exists():
        private_folder(path.parent)
    path.mkdir(exist_ok=True, mode=0o700)


def _fill(path: Path, data: bytes, *, durable: bool = False) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(data)
        file.flush()
        if durable:
            os.fsync(file.fileno())


def write_file(path: Path, data: bytes) -> bool:
    """Bring a small file to a content by renaming a new one over it; return whether it was different.

    Args:
        path: The file.
        data: The content it shall have.
    """
    try:
        if path.read_bytes() == data and not path.is_symlink():
            return False
    except OSError:
        private_folder(path.parent)
    # Of one process two threads may write the same file at the same time.
    temporary = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_native_id()}.new")
    temporary.unlink(missing_ok=True)
    _fill(temporary, data)
    temporary.replace(path)
    return True
