"""Worktrees for a look at merged commits, checked out once and then turned from one commit into the next.

Between two commits of one integration few files differ; checking out all the others again takes far longer than most
validations. What a command left behind is removed as thoroughly as a new checkout would.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING, Self

from coordstore_orchestrator.git.errors import GitError
from coordstore_orchestrator.git.leftovers import lend_index

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from coordstore_orchestrator.git.session import SessionRepository

__all__ = ["Scratch"]


class Scratch:
    """A set of scratch worktrees; as many as are used at the same time.

    Args:
        session: The repository that they hang off; sees the commits.
        folder: Where they lie, one below it each.
    """

    def __init__(self, session: SessionRepository, folder: Path) -> None:
        self._session = session
        self._folder = folder
        self._all: set[str] = set()
        self._free: list[str] = []

    async def __aenter__(self) -> Self:
        """Give the set; nothing is checked out yet."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Remove every worktree."""
        await asyncio.shield(asyncio.ensure_future(self._remove_all()))

    async def _remove_all(self) -> None:
        for name in sorted(self._all):
            await self._session.remove_worktree(name, self._folder / name)
        self._all.clear()
        self._free.clear()

    @contextlib.asynccontextmanager
    async def checkout(self, commit: str) -> AsyncIterator[Path]:
        """Lend a worktree with exactly the files of a commit, for the time of an ``async with``.

        Args:
            commit: The commit.

        Raises:
            GitError: It cannot be checked out.

        Cancelled: the worktree is not used again, and goes with the others.
        """
        name = await self._again(commit) or await self._new(commit)
        yield self._folder / name
        self._free.append(name)

    async def _again(self, commit: str) -> str | None:
        """Turn a worktree that is free into the commit; None: there is none, or not one that can be cleaned."""
        while self._free:
            name = self._free.pop()
            try:
                await self._session.reset_worktree(name, commit, self._folder / name)
            except GitError:  # something in it resists git; the one who made it knows how to remove it
                continue
            return name
        return None

    async def _new(self, commit: str) -> str:
        name = f"scratch-{secrets.token_hex(4)}"
        self._all.add(name)
        await self._session.add_worktree(name, commit, self._folder / name, branch=False)
        await asyncio.to_thread(lend_index, *self._session.indexes(name))
        return name
