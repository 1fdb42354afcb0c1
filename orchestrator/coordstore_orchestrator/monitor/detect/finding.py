"""What a detector is told, and what it finds.

A detector is a function of one attempt's events and nothing else: it has no clock and does no I/O, so that the same
events give the same findings on every host, after a take-over, and in a test. Times are in the events themselves, as
differences that the worker measured on one monotonic clock (`events.Pulse`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.session import events

__all__ = ["Action", "Detector", "Finding", "Subject"]

Action = Literal["suspect", "hint", "stop"]


@dataclass(frozen=True, slots=True)
class Subject:
    """Whom a detector watches.

    Args:
        agent: The attempt.
        spec: Its task.
        thresholds: What counts for it, by detector; 0: it is not watched for that.
    """

    agent: str
    spec: Mapping[str, Any]
    thresholds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Finding:
    """What a detector found.

    Args:
        action: ``suspect``: it is recorded only; ``hint``: the agent is told; ``stop``: the attempt has failed.
        reason: Why, for people.
        hint: What the agent, or the next attempt, is told.
        evidence: What it rests on.
    """

    action: Action
    reason: str
    hint: str | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


class Detector:
    """Watches one attempt.

    Args:
        subject: Whom.
        limit: The threshold; never 0.
    """

    def __init__(self, subject: Subject, limit: float) -> None:
        self.subject = subject
        self.limit = limit

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.subject.agent}, limit {self.limit:g}>"

    def see(self, event: events.Event) -> Finding | None:
        """Take the attempt's next event; return what follows from it."""
        raise NotImplementedError
