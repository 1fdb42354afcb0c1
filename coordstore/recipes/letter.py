"""One message as it is stored, and the rules of when it may be delivered and when it is given up."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from coordstore.model import Entry

__all__ = ["Depth", "Letter", "Retries"]

MAX_DOUBLINGS: Final = 30


@dataclass(frozen=True, slots=True)
class Retries:
    """How often and when a message is tried again.

    Args:
        attempts: Deliveries, the first included, after which it is dead.
        base: Seconds before the second delivery; doubled with each one after that.
        most: Seconds between two deliveries, at most.
        jitter: The share of it, 0 to 1, that chance may take off.
    """

    attempts: int = 5
    base: float = 1.0
    most: float = 300.0
    jitter: float = 0.5

    def delay(self, attempts: int, chance: float) -> float:
        """Return the seconds to wait after so many deliveries; `chance` is from 0 to 1."""
        whole = min(self.most, self.base * 2.0 ** min(attempts - 1, MAX_DOUBLINGS))
        return whole * (1 - self.jitter * chance)


class Letter(NamedTuple):
    """A message in its box.

    Args:
        id: Unique; whoever must not act twice on a message keeps those it has seen.
        to: Whose box it lies in.
        sender: Who sent it.
        body: What it says.
        sent: When, wall time in seconds.
        ttl: Seconds after which it is dead unless it was acknowledged.
        attempts: How often it was delivered.
        due: Wall time before which it is not delivered again.
        reason: Why it was not acknowledged, or is dead.
    """

    id: str
    to: str
    sender: str
    body: Any
    sent: float
    ttl: float
    attempts: int = 0
    due: float = 0.0
    reason: str = ""

    def to_json(self) -> bytes:
        """Return it as it is stored."""
        return json.dumps(self._asdict(), separators=(",", ":")).encode()

    @classmethod
    def from_entry(cls, entry: Entry) -> Letter:
        """Return what was stored."""
        return cls(**json.loads(entry.value.decode()))

    def death(self, now: float, retries: Retries) -> str:
        """Return why it is dead; empty: it is not."""
        if now > self.sent + self.ttl:
            return f"expired: not acknowledged within {self.ttl:g} s"
        if self.attempts >= retries.attempts:
            return f"given up after {self.attempts} deliveries{': ' if self.reason else ''}{self.reason}"
        return ""

    def delivered(self) -> Letter:
        """Return it with one delivery more."""
        return self._replace(attempts=self.attempts + 1)

    def refused(self, reason: str, due: float) -> Letter:
        """Return it as its receiver gave it back."""
        return self._replace(reason=reason, due=due)

    def dead(self, reason: str) -> Letter:
        """Return it as it lies among the dead ones."""
        return self._replace(reason=reason)

    def revived(self, now: float) -> Letter:
        """Return it as it is sent again."""
        return self._replace(attempts=0, due=0.0, sent=now, reason="")


@dataclass(frozen=True, slots=True)
class Depth:
    """How much lies in a box.

    Args:
        waiting: Messages that can be delivered.
        claimed: Messages that somebody works on.
        delayed: Messages that wait until they are tried again.
        dead: Messages that were given up.
        oldest: Seconds since the oldest of the living was sent.
    """

    waiting: int
    claimed: int
    delayed: int
    dead: int
    oldest: float
