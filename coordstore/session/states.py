"""The states of an attempt and the only transitions between them: one table, enforced in one place.

              claim                 verified
    pending ─────────> running ───────────────> completed
       │                  │ ╲
       │ cancel           │  ╲ erred, gave up, refused, lost
       v                  v   ╲
    cancelled <───────────┘    ─────> failed

The last three are final. A retry is a new attempt with a record of its own; nothing ever leaves a final state.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from coordstore.errors import InvalidTransition

__all__ = ["FINAL", "TRANSITIONS", "State", "check_transition"]


class State(StrEnum):
    """What an attempt, and so its task, is doing; the value is what the store holds."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


TRANSITIONS: Final[dict[State, frozenset[State]]] = {
    State.PENDING: frozenset({State.RUNNING, State.CANCELLED}),
    State.RUNNING: frozenset({State.COMPLETED, State.FAILED, State.CANCELLED}),
    State.COMPLETED: frozenset(),
    State.FAILED: frozenset(),
    State.CANCELLED: frozenset(),
}
FINAL: Final = frozenset(state for state, following in TRANSITIONS.items() if not following)


def check_transition(agent: str, old: State, new: State) -> None:
    """Refuse a transition that the table does not have.

    Raises:
        InvalidTransition: With the agent, both states, and what would be allowed.
    """
    if new in TRANSITIONS[old]:
        return
    allowed = ", ".join(sorted(TRANSITIONS[old])) or "nothing: it is final"
    message = f"{agent} cannot go from {old} to {new}; from {old} it can go to {allowed}"
    raise InvalidTransition(message)
