"""What differs in a worktree from where its agent began, while the agent is at work."""

from __future__ import annotations

import asyncio
import os
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.run import git, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coordstore_orchestrator.git.session import SessionRepository

__all__ = ["changed_files", "is_litter"]

LISTING: Final = (
    *("ls-files", "--others", "--modified", "--deleted"),
    *("--exclude-standard", "--deduplicate", "-z"),
)
STAMPED: Final = 100
"""Files whose size and time are looked at; more than that are told apart by name only."""


async def changed_files(
    repository: SessionRepository, agent: str, worktree: Path, base: str, not_work: Sequence[str]
) -> tuple[list[str], object]:
    """Return the paths that differ from the base, ignored ones left out, and a state that changes whenever they do.

    Args:
        repository: The session's repository.
        agent: Whose worktree.
        worktree: The worktree.
        base: The commit that the agent began at.
        not_work: What the set-up left: paths as patterns, with a slash before them.

    Raises:
        GitError: git failed, as it may while the agent is at work.
    """
    env = repository.looking(agent, worktree)
    if not await asyncio.to_thread(os.path.exists, env["GIT_INDEX_FILE"]):
        await git(["read-tree", base], cwd=worktree, env=env)
        await git(["update-index", "-q", "--refresh"], cwd=worktree, env=env, check=False)
    done = await git(LISTING, cwd=worktree, env=env)
    known = tuple(pattern.strip("/") for pattern in not_work)
    found = text_of(done.stdout).split("\0")[:-1]
    paths = sorted(path for path in found if not any(path == each or path.startswith(f"{each}/") for each in known))
    stamps = await asyncio.to_thread(_stamps, worktree, paths[:STAMPED])
    return paths, (tuple(paths), stamps)


def is_litter(path: str, patterns: Sequence[str]) -> bool:
    """Tell whether a file is what its agent always leaves, by any segment of its path."""
    return any(fnmatchcase(part, pattern.strip("/")) for part in path.split("/") for pattern in patterns)


def _stamps(worktree: Path, paths: Sequence[str]) -> tuple[object, ...]:
    return tuple(_stamp(worktree, path) for path in paths)


def _stamp(worktree: Path, path: str) -> object:
    try:
        found = os.lstat(worktree / path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
