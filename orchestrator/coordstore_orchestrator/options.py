"""What a run is told beside its plan."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordstore_orchestrator.worker.permits import Limit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from coordstore.session import SessionView
    from coordstore_orchestrator.agents import Profile

__all__ = ["RunOptions"]


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What a run needs to know beyond the plan.

    Args:
        home: The repository's state folder.
        slots: How many agents at a time.
        limit: How many at a time on the whole store.
        agent: The profile of tasks that name none, or None.
        profiles: Agent profiles by name.
        environ: The environment that agents' variables are taken from.
        merge: Whether the result goes into the user's repository.
        seen: Called with each view of the session, for display.
        copy: Files that each worktree gets from the user's checkout.
        ports: How many ports each agent gets.
        remote: The repository that all hosts reach, by which workers elsewhere get and hand in work; None: the one
            that the session was made with, if any.
        labels: Whose tasks this host's own workers serve, beside those without labels; None: all.
        standby: Called with who leads, when to stand by instead of being refused; None: be refused.
        wait: Seconds to wait at most for sessions that may write the same files; 0: not at all.
    """

    home: Path
    slots: int
    agent: Any
    profiles: Mapping[str, Profile]
    environ: Mapping[str, str]
    merge: bool = True
    limit: Limit = field(default_factory=Limit)
    seen: Callable[[SessionView], None] = field(default=lambda _view: None)
    copy: Sequence[str] = ()
    ports: int = 0
    remote: str | None = None
    labels: Sequence[str] | None = None
    standby: Callable[[Mapping[str, Any]], None] | None = None
    wait: float = 0
