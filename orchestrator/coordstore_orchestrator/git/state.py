"""What state the user's checkout is in, for a word to the person; a session works beside it and changes nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore_orchestrator.git.user import UserRepository

__all__ = ["notices"]

_UNDER_WAY: Final = {
    "rebase-merge": "a rebase is in progress",
    "rebase-apply": "a rebase, or `git am`, is in progress",
    "MERGE_HEAD": "a merge is in progress",
    "CHERRY_PICK_HEAD": "a cherry-pick is in progress",
    "REVERT_HEAD": "a revert is in progress",
    "BISECT_LOG": "a bisection is in progress",
}


async def notices(user: UserRepository) -> list[str]:
    """Return a sentence for each thing about a checkout that its owner should know, and that is left alone.

    Args:
        user: The repository.
    """
    return await asyncio.to_thread(_notices, user.git_dir, user.common_dir)


def _notices(git_dir: Path, common: Path) -> list[str]:
    found = [
        f"{told} in your checkout: it is left alone, and the base is what HEAD names now"
        for name, told in _UNDER_WAY.items()
        if (git_dir / name).exists()
    ]
    if (git_dir / "index.lock").exists():
        found.append(
            f"{git_dir / 'index.lock'} exists: another git works there, or one was killed; it is left alone, "
            "remove it by hand when no git runs"
        )
    if (common / "shallow").exists():
        found.append("this is a shallow clone: its history ends early, and so does that of the result")
    return found
