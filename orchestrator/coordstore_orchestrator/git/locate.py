"""Find the repository around a folder by looking at files, as git does, without starting git.

Every start of the command line asks this, so it imports next to nothing.
"""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

__all__ = ["Place", "home_name", "locate"]


class Place(NamedTuple):
    """Where a repository is: all paths absolute, symlinks resolved.

    `git_dir` differs from `common_dir` in a linked worktree; `top_level` is None in a bare repository.
    """

    git_dir: str
    common_dir: str
    top_level: str | None


def locate(start: str | os.PathLike[str] = ".") -> Place | None:
    """Return the repository that holds a folder or file, or None.

    Args:
        start: Any path inside the repository.
    """
    here = os.path.realpath(start)
    while True:
        git_dir = _git_dir(os.path.join(here, ".git"))
        if git_dir is not None:
            return Place(git_dir, _common_dir(git_dir), here)
        if _is_git_dir(here):
            return _from_inside(here)
        parent = os.path.dirname(here)
        if parent == here:
            return None
        here = parent


def home_name(common_dir: str) -> str:
    """Return the folder name under which the state of a repository is kept: its name and a hash of its place.

    Args:
        common_dir: `Place.common_dir`: one name for a repository and all its linked worktrees.
    """
    real = os.path.realpath(common_dir)
    digest = hashlib.sha256(os.fsencode(real), usedforsecurity=False).hexdigest()[:12]
    return f"{repository_name(real)}-{digest}"


def repository_name(common_dir: str) -> str:
    """Return what people call a repository, in letters that suit a folder name.

    Args:
        common_dir: Its common git directory.
    """
    head, tail = os.path.split(common_dir)
    raw = os.path.basename(head) if tail == ".git" else tail.removesuffix(".git")
    kept = "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in raw)
    return kept.strip(".-_")[:40] or "repository"


def _from_inside(git_dir: str) -> Place:
    """Return the place for a start inside the git directory itself: its work tree is the folder around it."""
    common = _common_dir(git_dir)
    top = os.path.dirname(git_dir) if os.path.basename(git_dir) == ".git" else None
    return Place(git_dir, common, top)


def _git_dir(dot_git: str) -> str | None:
    """Return the git directory that a `.git` entry is or names."""
    if os.path.isdir(dot_git):
        return os.path.realpath(dot_git) if _is_git_dir(dot_git) else None
    text = _first_line(dot_git)
    if text is None or not text.startswith("gitdir: "):
        return None
    named = os.path.realpath(os.path.join(os.path.dirname(dot_git), text.removeprefix("gitdir: ")))
    return named if _is_git_dir(named) else None


def _common_dir(git_dir: str) -> str:
    """Return the directory shared by all worktrees of a repository."""
    text = _first_line(os.path.join(git_dir, "commondir"))
    return git_dir if text is None else os.path.realpath(os.path.join(git_dir, text))


def _is_git_dir(path: str) -> bool:
    """Tell whether a folder has what git itself asks of a git directory."""
    common = _common_dir(path)
    return (
        os.path.lexists(os.path.join(path, "HEAD"))
        and os.path.isdir(os.path.join(common, "objects"))
        and os.path.isdir(os.path.join(common, "refs"))
    )


def _first_line(path: str) -> str | None:
    """Return the content of a small pointer file without its end of line, or None when it is no readable file."""
    try:
        with open(path, "rb") as file:
            return os.fsdecode(file.read(1 << 16).rstrip(b"\r\n"))
    except OSError:
        return None
