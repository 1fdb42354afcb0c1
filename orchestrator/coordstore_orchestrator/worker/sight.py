"""What differs in a worktree from where its agent began, while the agent is at work."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from coordstore_orchestrator.git.session import SessionRepository

__all__ = ["changed_files"]

STAMPED: Final = 100
"""Files whose size and time are looked at; more than that are told apart by name only."""


async def changed_files(
    repository: SessionRepository, agent: str, worktree: Path, not_work: Sequence[str]
) -> tuple[list[str], object]:
    """Return the paths that differ from the base, ignored ones left out, and a state that changes whenever they do.

    Args:
        repository: The session's repository.
        agent: Whose worktree.
        worktree: The worktree.
        not_work: What the set-up left: paths as patterns, with a slash before them.

    Raises:
        GitError: git failed, as it may while the agent is at work.
    """
    known = {pattern.strip("/") for pattern in not_work}
    found = await repository.untracked(agent, worktree, changed=True)
    paths = sorted({path for path in found if path.rstrip("/") not in known})
    stamps = await asyncio.to_thread(_stamps, worktree, paths[:STAMPED])
    return paths, (tuple(paths), stamps)


def _stamps(worktree: Path, paths: Sequence[str]) -> tuple[object, ...]:
    return tuple(_stamp(worktree, path) for path in paths)


def _stamp(worktree: Path, path: str) -> object:
    try:
        found = os.lstat(worktree / path)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size
