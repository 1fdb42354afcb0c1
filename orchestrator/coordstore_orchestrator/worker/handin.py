"""Keep what attempts did: on their branches here, and where the orchestrator finds it when that is on another host."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from coordstore.errors import CoordError
from coordstore.session import State, events
from coordstore_orchestrator.worker.outcome import Outcome

if TYPE_CHECKING:
    from coordstore_orchestrator.git.session import SessionRepository
    from coordstore_orchestrator.worker.attempt import Site

__all__ = ["hand_in", "save_left_work"]

log = logging.getLogger(__name__)


async def hand_in(site: Site, agent: str, outcome: Outcome, commit: str | None) -> Outcome:
    """Push an attempt's work, whatever came of it; return the outcome: what cannot be had is not completed.

    Args:
        site: Where it was done.
        agent: The attempt.
        outcome: How it ended.
        commit: What its work ends at; None: there is none.
    """
    if site.remote is None or commit is None:
        return outcome
    try:
        await site.remote.push_branch(site.repository.path, agent, commit)
    except CoordError as error:
        log.warning("%s: its work stays on this host: %s", agent, error)
        if outcome.state is State.COMPLETED:
            reason = f"its work stays on its host: {error}"
            told = [*outcome.told, events.Error(text=reason)]
            return Outcome(State.FAILED, reason, "remote", outcome.commit, told, outcome.said)
    return outcome


async def save_left_work(repository: SessionRepository) -> None:
    """Commit what attempts of a dead run left in their worktrees to their branches, then remove the worktrees."""
    for agent, folder in (await repository.list_worktrees()).items():
        if folder is not None:
            with contextlib.suppress(CoordError):  # half made, or damaged: there is nothing to keep
                await repository.commit_leftovers(agent, folder, f"{agent}: cut off")
    await repository.prune(())
