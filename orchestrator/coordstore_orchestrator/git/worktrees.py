"""The files that make a folder a worktree, and the checks that it is one.

`git worktree add` starts four processes and takes locks that parallel calls trip over; what it writes is documented
(gitrepository-layout): a `.git` file in the folder, and `gitdir`, `commondir`, `HEAD` and `index` on the other side.
Written here in an order that a crash cannot turn into a half-made worktree that looks whole: the folder's `.git`
comes last, and our own record of the folder comes first, so that clean-up knows what to remove.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from coordstore_orchestrator.git.errors import WorktreeRefused
from coordstore_orchestrator.git.names import checked, is_name, is_oid
from coordstore_orchestrator.git.refs import private_folder, read_head, write_file, write_ref

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Worktrees"]


class Worktrees:
    """The worktrees of one session, as files.

    Args:
        agents: The repository that agents see and that the worktrees belong to.
        own: Ours: has a record for each worktree, from which our own git commands work on it.
    """

    def __init__(self, agents: Path, own: Path) -> None:
        self._agents = agents
        self._own = own

    def admin(self, agent: str) -> Path:
        """Return the worktree's git directory on the agents' side.

        Args:
            agent: Whose.
        """
        return self._agents / "worktrees" / checked(agent)

    def record(self, agent: str) -> Path:
        """Return the worktree's git directory on our side.

        Args:
            agent: Whose.
        """
        return self._own / "worktrees" / checked(agent)

    def add(self, agent: str, base: str, path: Path, forbidden: Iterable[Path], *, branch: bool = True) -> None:
        """Make an empty folder the worktree of an agent, on a new branch of its name; check nothing out.

        Args:
            agent: Whose.
            base: The commit its branch begins at.
            path: The folder; must not exist.
            forbidden: Folders it may not lie in, nor around.
            branch: False: on no branch.

        Raises:
            WorktreeRefused: That path must not become a worktree.
            InvalidArgument: That name cannot be a branch.
        """
        if not is_oid(base):
            _refuse(path, f"{base!r} is no commit's id to begin at")
        refuse_place(path, [*forbidden, self._agents, self._own])
        self.forget(agent)  # what an add that was cut off left behind
        record, admin = self.record(agent), self.admin(agent)
        record.mkdir(mode=0o700)
        write_file(record / "folder", os.fsencode(path))
        write_file(record / "commondir", b"../..\n")
        write_ref(record / "HEAD", base)
        _make_folder(path)
        write_file(record / "inode", _inode(path))
        admin.mkdir(mode=0o700)
        write_file(admin / "locked", b"in use by coord\n")  # before `gitdir`: nobody's prune may take it
        write_file(admin / "gitdir", os.fsencode(path / ".git") + b"\n")
        write_file(admin / "commondir", b"../..\n")
        if branch:
            write_ref(self._agents / "refs/heads" / agent, base, break_lock=True)
        write_ref(admin / "HEAD", f"ref: refs/heads/{agent}" if branch else base)
        write_file(path / ".git", b"gitdir: " + os.fsencode(admin) + b"\n")

    def validate(self, agent: str, path: Path) -> None:
        """Check that a folder is the worktree of an agent.

        Args:
            agent: Whose it must be.
            path: The folder.

        Raises:
            WorktreeRefused: It is not; the message says what is wrong.
        """
        admin = self.admin(agent)
        pointer = _content(path / ".git")
        if path.is_symlink() or not path.is_dir():
            _refuse(path, "it is no folder, or one reached by a symbolic link")
        if pointer is None:
            _refuse(path, "it has no .git file: it is no worktree")
        if pointer.rstrip(b"\n") != b"gitdir: " + os.fsencode(admin):
            _refuse(path, "its .git file points to another repository or worktree")
        if _content(admin / "gitdir") != os.fsencode(path / ".git") + b"\n":
            _refuse(path, "the session's repository does not list it at that place")
        if _content(self.record(agent) / "inode") != _inode(path):
            _refuse(path, "the folder was replaced by another one")

    def validate_fresh(self, agent: str, path: Path) -> None:
        """Check that a folder is the worktree of an agent and stands on its branch.

        Args:
            agent: Whose it must be.
            path: The folder.

        Raises:
            WorktreeRefused: It is not.
        """
        self.validate(agent, path)
        branch, oid = read_head(self.admin(agent), self._agents)
        if branch != f"refs/heads/{agent}" or oid is None:
            _refuse(path, f"it stands on {branch or 'no branch'}, not on refs/heads/{agent}")

    def folder(self, agent: str) -> Path | None:
        """Return the folder that was made for an agent, or None.

        Args:
            agent: Whose.
        """
        text = _content(self.record(agent) / "folder")
        return None if text is None else Path(os.fsdecode(text))

    def names(self) -> list[str]:
        """Return the agents that have a worktree, or remains of one, in order."""
        found = {entry for side in (self._own, self._agents) for entry in _entries(side / "worktrees")}
        return sorted(name for name in found if is_name(name))

    def forget(self, agent: str) -> None:
        """Remove a worktree: its folder, when it is the one that was made for it, and its files on both sides.

        The branch stays. Where the folder has been replaced by something that is not ours, that is left alone.

        Args:
            agent: Whose.

        Raises:
            WorktreeRefused: The folder at that place is not the one that was made.
        """
        record, folder = self.record(agent), self.folder(agent)
        if folder is not None and os.path.lexists(folder):
            if not _is_ours(record, folder):
                _refuse(folder, f"it is not the folder that was made for {agent}; move it away")
            shutil.rmtree(folder, onerror=_make_writable)
        for path in (self.admin(agent), record):  # the record goes last: it knows what is left to do
            if path.exists():
                # A git of a run that was killed may still be at work in it, and move its index meanwhile.
                shutil.rmtree(path, onerror=_make_writable)


def refuse_place(path: Path, forbidden: Iterable[Path]) -> None:
    """Check that a new worktree may be made at a path.

    Args:
        path: The path.
        forbidden: Folders it may not lie in, nor around.

    Raises:
        WorktreeRefused: It may not.
    """
    if not path.is_absolute():
        _refuse(path, "the path is not absolute")
    if os.path.lexists(path):
        _refuse(path, "something is there already")
    real = Path(os.path.realpath(path))
    for folder in map(Path, map(os.path.realpath, [*forbidden, Path(__file__).parents[2]])):
        if real.is_relative_to(folder) or folder.is_relative_to(real):
            _refuse(path, f"it overlaps {str(folder)!r}")


def _make_folder(path: Path) -> None:
    private_folder(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        _refuse(path, "something is there already")


def _is_ours(record: Path, folder: Path) -> bool:
    """Tell whether a folder is the one that was made: the same inode, or still empty when the crash came between."""
    if folder.is_symlink() or not folder.is_dir():
        return False
    noted = _content(record / "inode")
    return noted == _inode(folder) if noted is not None else not any(folder.iterdir())


def _refuse(path: Path, reason: str) -> NoReturn:
    message = f"{str(path)!r} is refused as a worktree: {reason}"
    raise WorktreeRefused(message)


def _make_writable(_function: object, path: str, _error: object) -> None:
    """Remove what an agent made read-only, as build tools do with their caches."""
    parent = os.path.dirname(path)
    os.chmod(parent, 0o700)
    if os.path.isdir(path) and not os.path.islink(path):
        os.chmod(path, 0o700)
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def _inode(path: Path) -> bytes:
    found = path.lstat()
    return f"{found.st_dev} {found.st_ino}".encode()


def _content(path: Path) -> bytes | None:
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return None


def _entries(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []
