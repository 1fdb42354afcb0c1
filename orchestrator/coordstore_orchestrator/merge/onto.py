"""Merges a session's result into a branch of the user's that nobody has checked out; when it moves, merges again.

The branch moves by one compare-and-set from the very commit that was merged with; what somebody commits to it
meanwhile makes that fail, and the merge is made anew on top of it. Nothing is ever lost, and no checkout is touched.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.errors import GitError, LandRefused
from coordstore_orchestrator.git.run import git, text_of
from coordstore_orchestrator.git.session import SessionRepository
from coordstore_orchestrator.merge.integrate import Integration
from coordstore_orchestrator.merge.land import send

if TYPE_CHECKING:
    from coordstore_orchestrator.git.user import UserRepository

__all__ = ["MergeConflict", "merge_into"]

TRIES: Final = 10
"""Merges after which a branch that moves each time is left to its owner."""
_DURABLE: Final = ("-c", "core.fsync=committed", "-c", "core.fsyncMethod=fsync")


class MergeConflict(LandRefused):
    """The result and the branch changed the same places: nothing was changed."""


async def merge_into(user: UserRepository, home: Path, branch: str, commit: str, message: str) -> str:
    """Merge a commit into a branch; return what the branch is at then.

    Args:
        user: Whose repository.
        home: A private folder, for a repository that lives as long as the call.
        branch: Its short name.
        commit: The commit; merged already: nothing happens.
        message: What the merge commit says.

    Raises:
        UnknownBase: There is no such branch.
        MergeConflict: They conflict; the message names the files.
        LandRefused: The branch is checked out, or does not stop moving.

    Cancelled: the branch has moved, or not; objects may have arrived, which nothing refers to.
    """
    name = f"refs/heads/{branch}"
    await _refuse_checked_out(user, name, commit)
    folder = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix="merge-", dir=home))
    try:
        for _ in range(TRIES):
            tip = await user.resolve(name)
            if await _contains(user, tip, commit):
                return tip
            merged = await _merged(user, folder, tip, commit, message)
            if await _moved(user, name, tip, merged):
                return merged
    finally:
        await asyncio.shield(asyncio.ensure_future(asyncio.to_thread(shutil.rmtree, folder)))
    text = f"{branch} moved {TRIES} times while the result was merged into it: try again when it is quiet"
    raise LandRefused(text, ref=name)


async def _merged(user: UserRepository, folder: Path, tip: str, commit: str, message: str) -> str:
    """Merge, and bring the merge commit into the user's repository; return it."""
    agents, integration = SessionRepository(folder / "repo"), Integration(folder / "integration.git")
    await agents.create(user, tip)
    await integration.create(user, agents)
    merged = await integration.merge(tip, commit, message=message)
    if merged.oid is None:
        files = ", ".join(sorted({conflict.path for conflict in merged.conflicts}))
        text = f"the branch and the result conflict in {files}: merge them by hand (git merge in a checkout)"
        raise MergeConflict(text, expected=tip, found=tip)
    await send(user, integration.path, merged.oid, [tip, commit])
    return merged.oid


async def _refuse_checked_out(user: UserRepository, name: str, commit: str) -> None:
    result = await git(["worktree", "list", "--porcelain", "-z"], cwd=user.cwd, trust_user=True)
    folder = ""
    for field in text_of(result.stdout).split("\0"):
        folder = field.removeprefix("worktree ") if field.startswith("worktree ") else folder
        if field == f"branch {name}" and user.top_level is not None:
            short = name.removeprefix("refs/heads/")
            message = f"{short} is checked out in {folder}: merge it there yourself (git merge {commit[:12]})"
            raise LandRefused(message, ref=name)


async def _contains(user: UserRepository, tip: str, commit: str) -> bool:
    args = ["merge-base", "--is-ancestor", "--end-of-options", commit, tip]
    return (await git(args, cwd=user.cwd, trust_user=True, check=False)).returncode == 0


async def _moved(user: UserRepository, name: str, old: str, new: str) -> bool:
    """Move the branch if it is still where it was; return whether it was."""
    who = user.identity
    env = {"GIT_COMMITTER_NAME": who.name, "GIT_COMMITTER_EMAIL": who.email}  # for the branch's log
    args = [*_DURABLE, "update-ref", "-m", "coord merge", "--end-of-options", name, new, old]
    try:
        await git(args, cwd=user.cwd, trust_user=True, env=env, umask=await user.umask())
    except GitError:
        if await user.resolve(name) == old:
            raise
        return False
    return True
