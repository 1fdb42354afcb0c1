"""Changes: completed work that waits for a review before it is merged; one record an attempt.

    open ──► approved ──► merged
      │          └──────► refused             the gate or a conflict stood against it
      ├────► changes-requested                its task gets another attempt
      └────► rejected                         its task is left out

Every move is one transaction with an event in the attempt's stream: who, when and why stay in the store.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import InvalidArgument, InvalidTransition
from coordstore.model import Check, Put
from coordstore.session import events
from coordstore.session.values import as_object, as_value, now_text, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.model import Entry
    from coordstore.session.session import Session
    from coordstore.session.task import Attempt
    from coordstore.session.view import SessionView
    from coordstore.store import Fence

__all__ = ["Change", "ChangeState", "change_in", "changes_in", "decide_change", "move_of", "note_change", "open_change"]

HISTORY_MAX: Final = 100
COMMENT_MAX: Final = 20_000


class ChangeState(StrEnum):
    """Where a change stands."""

    OPEN = "open"
    APPROVED = "approved"
    CHANGES_REQUESTED = "changes-requested"
    REJECTED = "rejected"
    MERGED = "merged"
    REFUSED = "refused"


_MOVES: Final = {
    ChangeState.OPEN: {ChangeState.APPROVED, ChangeState.CHANGES_REQUESTED, ChangeState.REJECTED},
    ChangeState.APPROVED: {ChangeState.MERGED, ChangeState.REFUSED},
}
_STATES: Final = frozenset(str(state) for state in ChangeState)


@dataclass(frozen=True, slots=True)
class Change:
    """One change.

    Args:
        agent: The attempt whose work it is: its id.
        entry: Its record.
    """

    agent: str
    entry: Entry

    @property
    def record(self) -> dict[str, Any]:
        """Return all that is recorded."""
        return as_object(self.entry)

    @property
    def state(self) -> ChangeState:
        """Return where it stands; what is no state counts as open."""
        said = self.record.get("state")
        return ChangeState(said) if isinstance(said, str) and said in _STATES else ChangeState.OPEN

    def text(self, name: str) -> str | None:
        """Return one of its plain values, or None."""
        return words(self.record.get(name))


def change_in(view: SessionView, agent: str) -> Change | None:
    """Return the change of an attempt, or None.

    Args:
        view: The session.
        agent: The attempt.
    """
    entry = view.entries.get(view.keys.change(agent))
    return Change(agent, entry) if entry else None


def changes_in(view: SessionView) -> list[Change]:
    """Return all changes of a session, in the order in which their work was completed."""
    attempts = [attempt for task in view.tasks.values() for attempt in task.attempts]
    found = [(attempt, change) for attempt in attempts if (change := change_in(view, attempt.agent))]
    return [change for attempt, change in sorted(found, key=lambda pair: _completed(pair[0]))]


def _completed(attempt: Attempt) -> int:
    return attempt.entries["status"].revision


async def open_change(session: Session, attempt: Attempt, fields: Mapping[str, Any], fence: Fence | None = None) -> int:
    """Record that completed work waits for a review; return the revision.

    Args:
        session: Whose.
        attempt: Whose work, as the view shows it.
        fields: What reviewers need: title, commit, base, reviewer, forge, url.
        fence: The orchestrator's leadership.

    Raises:
        Conflict: It is recorded already, or the attempt changed.
        Fenced: The orchestrator no longer leads.
    """
    record = {"task": attempt.task, "agent": attempt.agent, "state": str(ChangeState.OPEN), **fields}
    record["history"] = [_line(ChangeState.OPEN, "coord", "")]
    key = session.keys.change(attempt.agent)
    status = Check(session.keys.agent(attempt.agent, "status"), revision=attempt.entries["status"].revision)
    told = events.Reviewed(state=str(ChangeState.OPEN), by="coord")
    return await session.store.transact(
        [Put(key, as_value(record))], [Check(key, revision=0), status], [session.event(attempt.agent, told)], fence
    )


async def decide_change(
    session: Session, agent: str, state: ChangeState, by: str, comment: str = "", *, fence: Fence | None = None
) -> int:
    """Approve a change, request changes, or reject it; return the revision.

    Args:
        session: Whose.
        agent: The change.
        state: What is decided.
        by: Who decides.
        comment: Why; an agent that gets its work back reads it.
        fence: The orchestrator's leadership; None: a person decides.

    Raises:
        InvalidArgument: There is no such change, or changes are requested without saying which.
        InvalidTransition: It is decided already; the message says how.
        Conflict: It was changed at this moment.
    """
    if state is ChangeState.CHANGES_REQUESTED and not comment.strip():
        message = "say which changes: the agent reads it"
        raise InvalidArgument(message)
    entry = await session.store.get(session.keys.change(agent))
    if entry is None:
        message = (
            f"session {session.name} has no change {agent}: `coord changes list {session.name}` shows those it has"
        )
        raise InvalidArgument(message)
    change = Change(agent, entry)
    told = events.Reviewed(state=str(state), by=by, comment=comment or None)
    return await session.store.transact(
        [move_of(change, state, by, comment)],
        [Check(entry.key, revision=entry.revision)],
        [session.event(agent, told)],
        fence,
    )


async def note_change(session: Session, change: Change, fields: Mapping[str, Any], fence: Fence | None = None) -> int:
    """Add to a change's record, as long as it is as it was seen; return the revision.

    Args:
        session: Whose.
        change: The change.
        fields: What to add.
        fence: The orchestrator's leadership.

    Raises:
        Conflict: It was changed meanwhile.
        Fenced: The orchestrator no longer leads.
    """
    key, revision = change.entry.key, change.entry.revision
    return await session.store.put(key, as_value({**change.record, **fields}), expect=revision, fence=fence)


def move_of(change: Change, state: ChangeState, by: str, comment: str = "", **fields: object) -> Put:
    """Return the write that brings a change to another state.

    Args:
        change: The change.
        state: The state.
        by: Who decides.
        comment: Why.
        fields: More to record.

    Raises:
        InvalidTransition: It cannot go there from where it stands.
    """
    if state not in _MOVES.get(change.state, set()):
        message = f"change {change.agent} is {change.state} already: it cannot become {state}"
        raise InvalidTransition(message)
    before = change.record.get("history")
    history = [*(before if isinstance(before, list) else [])[-HISTORY_MAX:], _line(state, by, comment)]
    decided = {"state": str(state), "by": by, "comment": comment[:COMMENT_MAX], "history": history}
    return Put(change.entry.key, as_value({**change.record, **decided, **fields}))


def _line(state: ChangeState, by: str, comment: str) -> dict[str, str]:
    return {"at": now_text(), "state": str(state), "by": by, "comment": comment[:COMMENT_MAX]}
