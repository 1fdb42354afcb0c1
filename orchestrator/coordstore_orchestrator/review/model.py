"""What reviewers and forges are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from coordstore.session.changes import Change, ChangeState
    from coordstore_orchestrator.agents import Profile
    from coordstore_orchestrator.git.user import UserRepository
    from coordstore_orchestrator.merge.search import Failure
    from coordstore_orchestrator.worker.process import Guardian

__all__ = ["Decision", "Forge", "Reviewer", "Tools", "Work"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided: approved, changes-requested or rejected; by whom, and why."""

    state: ChangeState
    by: str
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Work:
    """What a reviewer looks at.

    Args:
        change: The change.
        prompt: What its task asked for.
        merged: The commit that would land, on no branch; None: it conflicts with what was merged before it.
        base: The commit that it would land on.
        tree: Lends a folder with the files of a commit.
    """

    change: Change
    prompt: str
    merged: str | None
    base: str
    tree: Callable[[str], AbstractAsyncContextManager[Path]]


class Reviewer(Protocol):
    """Decides on changes; one that people speak for never does so by itself."""

    async def review(self, work: Work) -> Decision | None:
        """Return the decision, or None: somebody else decides. Cancelled: nothing is decided, nothing runs on."""


class Forge(Protocol):
    """Where changes are shown to people, and where they may decide on them."""

    async def open(self, change: Change) -> str | None:
        """Show a change and return its address; the same one again when it is shown already."""

    async def decision(self, change: Change) -> Decision | None:
        """Return what was decided there, or None: nothing yet."""

    async def close(self, change: Change) -> None:
        """Show what came of a change: merged, or closed with the reason. Called again, it changes nothing."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What reviewers and forges are made with.

    Args:
        session: The session's name.
        user: The user's repository.
        source: A repository of ours that has the work.
        target: The branch that changes are for.
        validate: The session's validation of a commit.
        commands: Its commands.
        guardian: Starts processes and leaves none behind.
        logs: A folder for what they print.
        profiles: Agent profiles by name.
        environ: The environment that their variables are taken from.
    """

    session: str
    user: UserRepository
    source: Path
    target: str
    validate: Callable[[str], Awaitable[Failure | None]]
    commands: Sequence[str]
    guardian: Guardian
    logs: Path
    profiles: Mapping[str, Profile]
    environ: Mapping[str, str]
