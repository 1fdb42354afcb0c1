"""What a session keeps on this machine, and whether it may go: nothing that did not land is dropped unasked."""

from __future__ import annotations

import asyncio
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from coordstore_orchestrator.git.refs import read_ref
from coordstore_orchestrator.git.run import git
from coordstore_orchestrator.git.session import SessionRepository

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore.session import SessionView
    from coordstore_orchestrator.git.user import UserRepository

__all__ = ["Holdings", "holdings", "remove"]


@dataclass(frozen=True, slots=True)
class Holdings:
    """A session's folder and what speaks against removing it.

    Args:
        session: The session.
        folder: Its folder.
        size: Bytes in it.
        led: Whether an orchestrator leads it: it never goes then.
        reasons: What would be lost, in sentences; empty: nothing.
    """

    session: str
    folder: Path
    size: int
    led: bool
    reasons: tuple[str, ...]


async def holdings(view: SessionView, folder: Path) -> Holdings:
    """Look at a session's folder.

    Args:
        view: The session as the store has it; one without tasks: the store knows nothing of it.
        folder: The folder.

    Raises:
        GitError: Its repository is damaged.
    """
    size = await asyncio.to_thread(_size, folder)
    reasons = [*_unfinished(view), *await _dirty(folder), *await _unmerged(view, folder)]
    return Holdings(view.session, folder, size, bool(view.leader), tuple(reasons))


def _unfinished(view: SessionView) -> list[str]:
    if not view.tasks:
        return ["the store does not know this session: its work may belong to another store"]
    return [] if view.result.get("final") else ["it is not finished: resume it with `coord run`, or cancel it"]


async def _dirty(folder: Path) -> list[str]:
    found = await SessionRepository(folder).list_worktrees()
    left = [
        agent for agent, tree in found.items() if tree is not None and await asyncio.to_thread(os.path.lexists, tree)
    ]
    return [f"the worktree of {agent} is still there: resuming the session commits what is in it" for agent in left]


async def _unmerged(view: SessionView, folder: Path) -> list[str]:
    """Name the branches with commits that did not land."""
    repository = SessionRepository(folder)
    landed = view.result.get("commit") if view.result.get("ref") else None
    kept = [str(view.merged(task).get("agent")) for task in view.tasks if view.landed(task)]
    reasons = []
    for agent, base in sorted(_attempts(view).items()):
        tip = await asyncio.to_thread(read_ref, repository.agents_path, f"refs/heads/{agent}")
        if tip is None or tip == base or agent in kept or await _is_in(repository, tip, landed):
            continue
        reasons.append(f"{agent} has work that did not land: branch {agent}, {tip[:12]}, in {repository.agents_path}")
    return reasons


def _attempts(view: SessionView) -> dict[str, str]:
    attempts = [attempt for task in view.tasks.values() for attempt in task.attempts]
    return {attempt.agent: str(attempt.json("assignment").get("base", "")) for attempt in attempts}


async def _is_in(repository: SessionRepository, tip: str, landed: object) -> bool:
    if not isinstance(landed, str):
        return False
    args = ["merge-base", "--is-ancestor", "--end-of-options", tip, landed]
    return (await git(args, git_dir=repository.path, check=False)).returncode == 0


def _size(folder: Path) -> int:
    return sum(os.lstat(os.path.join(where, name)).st_size for where, _, names in os.walk(folder) for name in names)


async def remove(held: Holdings, user: UserRepository) -> None:
    """Remove a session's folder, and the epoch that a killed leader left in the user's repository.

    Args:
        held: What `holdings` found.
        user: Whose repository.

    Cut short: call it again.
    """
    await SessionRepository(held.folder).prune(())
    await asyncio.to_thread(shutil.rmtree, held.folder, ignore_errors=False)
    await git(["update-ref", "-d", f"refs/coord/epoch/{held.session}"], cwd=user.cwd, trust_user=True)
