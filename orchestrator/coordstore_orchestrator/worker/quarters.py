"""What a worker does for an attempt that delegates: where subtasks start, who does them, and having their work here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from coordstore.errors import InvalidArgument
from coordstore.session.subtasks import made_by
from coordstore_orchestrator.agents import chain
from coordstore_orchestrator.agents.registry import resolve_agent
from coordstore_orchestrator.git.run import git
from coordstore_orchestrator.merge.gate import inspect
from coordstore_orchestrator.plan.scope import Scope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from coordstore.session import SessionView, Task
    from coordstore_orchestrator.agents import Profile
    from coordstore_orchestrator.worker.attempt import Site
    from coordstore_orchestrator.worker.observe import Observer

__all__ = ["WorktreeQuarters", "taken"]


class WorktreeQuarters:
    """Those of an attempt in a worktree.

    Args:
        site: Where it runs.
        agent: The attempt.
        task: Its task.
        base: The commit that it started from.
        worktree: Its worktree.
        observer: Returns who watches it; None: nobody yet.
    """

    def __init__(
        self, site: Site, agent: str, task: Task, base: str, worktree: Path, observer: Callable[[], Observer | None]
    ) -> None:
        self._site = site
        self._agent = agent
        self._task = task
        self._base = base
        self._worktree = worktree
        self._observer = observer

    async def start_from(self) -> str:
        """Return the last commit of the attempt's branch, where all workers can have it.

        Raises:
            InvalidArgument: What was committed so far would be refused.
            GitError: It cannot be had, or the worktree is in disorder.
        """
        repository = self._site.repository
        head = await repository.head(self._agent, self._worktree, self._base)
        if head == self._base:
            return head
        scope = Scope.parse(self._task.spec.get("writes") or ())
        broken = await inspect(repository.path, self._base, head, scope.matches)
        if broken:
            message = f"nothing can start from your last commit, {head[:12]}, which would be refused: "
            raise InvalidArgument(message + "; ".join(violation.sentence for violation in broken[:5]))
        if self._site.remote is not None:
            await self._site.remote.publish(repository.path, head)
        return head

    async def have(self, agent: str, commit: str) -> None:
        """Have a subtask's work here, wherever it was done.

        Raises:
            RemoteUnreachable: It could not be had.
        """
        if self._site.remote is not None:
            await self._site.remote.fetch_branch(self._site.repository.path, agent, commit)

    async def profile_of(self, wanted: str | None) -> tuple[object, str]:
        """Return the agent that a subtask gets, and how it is called: its parent's unless another is wanted.

        Raises:
            UnknownProfile: There is none of that name.
            InvalidArgument: It is none that this session uses, and has not shown what it can do.
        """
        site = self._site
        if wanted is not None and wanted not in set(self._used()):
            await asyncio.to_thread(self._demand, resolve_agent(wanted, site.profiles))
        agent = wanted if wanted is not None else self._task.spec.get("agent")
        return agent, next(iter(chain(agent, site.agent, site.profiles))).name

    def _used(self) -> Iterator[str]:
        """Yield the agents that the session uses anyway."""
        view = self._site.naps.view
        tasks = view.tasks.values() if view else ()
        meta = view.meta if view else {}
        for agent in (self._site.agent, meta.get("alone"), *(task.spec.get("agent") for task in tasks)):
            if isinstance(agent, str):
                yield agent

    def _demand(self, profile: Profile) -> None:
        from coordstore_orchestrator.agents.proof import Proofs  # only now: most never ask

        Proofs(self._site.environ).demand(profile)

    def pause(self) -> None:
        """Count no time against the agent from here."""
        if (observer := self._observer()) is not None:
            observer.pause()

    def go_on(self) -> None:
        """Count it again."""
        if (observer := self._observer()) is not None:
            observer.go_on()


async def taken(repository: Path, view: SessionView | None, agent: str, commit: str) -> list[str]:
    """Return the subtasks of an attempt whose work is in its own.

    Args:
        repository: A git directory that has both.
        view: The session.
        agent: The attempt.
        commit: What its work ends at.
    """
    found = []
    for name, work in _works(view, agent):
        args = ["merge-base", "--is-ancestor", "--end-of-options", work, commit]
        if (await git(args, git_dir=repository, check=False)).returncode == 0:
            found.append(name)
    return found


def _works(view: SessionView | None, agent: str) -> Iterator[tuple[str, Any]]:
    """Yield the subtasks that have done something, with the commit that their work ends at."""
    for name in made_by(view.attempt(agent)) if view else ():
        task = view.tasks.get(name) if view else None
        commit = task.latest.result.get("commit") if task and task.latest else None
        if task is not None and commit and commit != task.spec.get("base"):
            yield name, commit
