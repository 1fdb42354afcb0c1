"""One task of a session and its attempts, as their keys tell it; states are computed here, and nowhere stored."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordstore.session.keys import split_agent
from coordstore.session.states import State
from coordstore.session.values import as_object, strings, words

if TYPE_CHECKING:
    from coordstore.model import Entry

__all__ = ["Attempt", "Task"]

LOST = "lost: its worker is gone"
STATES = {str(state).encode(): state for state in State}
DIGITS = 18
"""A number with more digits counts as none."""


@dataclass(slots=True)
class Attempt:
    """One attempt: the keys below ``agents/<agent>``; it exists from the moment it has a status.

    Args:
        agent: Its name, ``<task>.<attempt>``.
        entries: Its keys by their last segment.
    """

    agent: str
    entries: dict[str, Entry] = field(default_factory=dict)

    @property
    def task(self) -> str:
        """Return the task's id."""
        return split_agent(self.agent)[0]

    @property
    def number(self) -> int:
        """Return which attempt of its task it is, from 1."""
        return split_agent(self.agent)[1]

    @property
    def state(self) -> State:
        """Return its state; a status that is no state counts as failed."""
        entry = self.entries.get("status")
        if entry is None or not entry.value:
            return State.PENDING
        return STATES.get(entry.value, State.FAILED)

    @property
    def lost(self) -> bool:
        """Whether it is said to run but nobody holds its claim any more."""
        return self.state is State.RUNNING and "claim" not in self.entries

    @property
    def live(self) -> bool:
        """Whether it runs and somebody holds its claim."""
        return self.state is State.RUNNING and "claim" in self.entries

    @property
    def result(self) -> dict[str, Any]:
        """Return how it ended, as its worker or the orchestrator wrote it."""
        return self.json("result")

    @property
    def reason(self) -> str | None:
        """Return why it is in its state, in words, or None."""
        return words(self.result.get("reason")) or (LOST if self.lost else None)

    def text(self, name: str) -> str | None:
        """Return one of its values as text, or None."""
        entry = self.entries.get(name)
        return entry.value.decode(errors="replace") if entry else None

    def number_of(self, name: str) -> int | None:
        """Return one of its values as a number, or None."""
        text = self.text(name)
        return int(text) if text and text.isascii() and text.isdigit() and len(text) <= DIGITS else None

    def json(self, name: str) -> dict[str, Any]:
        """Return one of its values as an object (empty when absent)."""
        return as_object(self.entries.get(name))

    def as_json(self) -> dict[str, Any]:
        """Return what `coord inspect --json` shows of it."""
        return {
            "agent": self.agent,
            "state": str(self.state),
            "reason": self.reason,
            "step": self.number_of("step"),
            "pid": self.number_of("pid"),
            "host": self.text("host"),
            "branch": self.text("branch"),
            "worktree": self.text("worktree"),
            "started": self.text("started"),
            "ended": self.text("ended"),
        }


@dataclass(slots=True)
class Task:
    """One task: its specification and its attempts in order."""

    id: str
    spec: dict[str, Any]
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def latest(self) -> Attempt | None:
        """Return the attempt that counts."""
        return self.attempts[-1] if self.attempts else None

    @property
    def state(self) -> State:
        """Return the state, computed: the latest attempt's; pending before the first."""
        return self.latest.state if self.latest else State.PENDING

    @property
    def reason(self) -> str | None:
        """Return why, in words, or None."""
        return self.latest.reason if self.latest else None

    @property
    def needs(self) -> list[str]:
        """Return the tasks it depends on."""
        return strings(self.spec.get("needs"))

    @property
    def parent(self) -> str | None:
        """Return the attempt whose agent delegated it; None: it is a task of the plan."""
        return words(self.spec.get("parent"))

    @property
    def labels(self) -> tuple[str, ...]:
        """Return the classes of workers it is for; the first names its queue."""
        return tuple(strings(self.spec.get("labels")))

    @property
    def priority(self) -> int:
        """Return how early it is claimed: higher first, 0 when nothing is said."""
        said = self.spec.get("priority")
        return said if isinstance(said, int) else 0

    @property
    def next_attempt(self) -> int:
        """Return the number that its next attempt would have."""
        return self.attempts[-1].number + 1 if self.attempts else 1

    @property
    def name(self) -> str:
        """Return the name shown to people."""
        return words(self.spec.get("name")) or self.id
