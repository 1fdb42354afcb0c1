"""What the orchestrator does with subtasks: they are tasks as any other, but their work is their parent's.

A subtask starts from where its parent stood when it delegated, and is not merged by us: what came of it is *returned*
to its parent, by a message and a record in one transaction, and the parent takes it into its own work or not. It is
part of the attempt that made it, so it is cancelled as soon as that has ended, whatever the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordstore.model import Check, Put
from coordstore.recipes import Mailbox
from coordstore.session import FINAL, State, events
from coordstore.session.subtasks import unwanted
from coordstore.session.values import as_value
from coordstore_orchestrator.monitor.postmortem import kept_work

if TYPE_CHECKING:
    from coordstore.session import Attempt, SessionView, Task
    from coordstore.session.session import Session
    from coordstore.store import Fence

__all__ = ["EndSubtask", "Return", "carry_out", "to_end", "to_return", "told"]


@dataclass(frozen=True, slots=True)
class EndSubtask:
    """Cancel the living attempt of a subtask that nobody waits for any more."""

    task: str
    agent: str
    reason: str


@dataclass(frozen=True, slots=True)
class Return:
    """Tell a parent what came of its subtask, by this attempt."""

    task: str
    agent: str


def to_end(view: SessionView, task: Task) -> EndSubtask | None:
    """Return what ends a subtask's living attempt, when nobody waits for it and nobody has asked it to end."""
    latest, why = task.latest, unwanted(view, task)
    if latest is None or why is None or latest.state in FINAL or "cancel" in latest.entries:
        return None
    return EndSubtask(task.id, latest.agent, why)


def to_return(view: SessionView, task: Task) -> Return | None:
    """Return what tells a parent of its subtask, which is settled, unless it was told or is no more."""
    parent = view.attempt(task.parent or "")
    if task.latest is None or parent is None or not parent.live or view.merged(task.id):
        return None
    return Return(task.id, task.latest.agent)


async def carry_out(session: Session, view: SessionView, action: EndSubtask | Return, fence: Fence) -> int:
    """Do it; return the revision (0: it is not to be done any more, or done by another).

    Raises:
        Conflict: What it rests on has changed.
        Fenced: Another orchestrator leads by now.
    """
    attempt, task = view.attempt(action.agent), view.tasks.get(action.task)
    if attempt is None or task is None:
        return 0
    if isinstance(action, Return):
        return await _give_back(session, task, attempt, fence)
    if attempt.state is State.PENDING or attempt.lost:
        result = {"code": "cancelled", "reason": action.reason}
        return await session.end(attempt, State.CANCELLED, result, fence=fence)
    await session.request_cancel(attempt.agent, action.reason)
    return 0


async def _give_back(session: Session, task: Task, attempt: Attempt, fence: Fence) -> int:
    parent, status = str(task.parent), attempt.entries["status"]
    record = {"agent": attempt.agent, "to": parent, "state": str(attempt.state)}
    body = told(task, attempt)
    mail = Mailbox(session.store, session.name, attempt.agent).posting(parent, body)
    merged = Put(session.keys.merged(task.id), as_value(record))
    checks = [Check(merged.key, revision=0), Check(status.key, revision=status.revision)]
    said = events.Returned(task=task.id, state=str(attempt.state), commit=kept_work(attempt), reason=attempt.reason)
    return await session.store.transact([merged, mail], checks, [session.event(parent, said)], fence)


def told(task: Task, attempt: Attempt) -> dict[str, Any]:
    """Return the message that tells a parent what came of a subtask: fields, and all of them in words."""
    result, commit = attempt.result, kept_work(attempt)
    evidence = result.get("evidence")
    body: dict[str, Any] = {
        "kind": "subtask",
        "task": task.id,
        "agent": attempt.agent,
        "state": str(attempt.state),
        "summary": result.get("said"),
        "reason": attempt.reason,
        "commit": commit,
        "branch": attempt.agent if commit else None,
        "evidence": evidence if isinstance(evidence, dict) else None,
    }
    found = {name: value for name, value in body.items() if value is not None}
    return {**found, "text": _in_words(task, found)}


def _in_words(task: Task, body: dict[str, Any]) -> str:
    why = f": {body['reason']}" if "reason" in body else ""
    lines = [f"subtask {body['task']} ({task.name}) has {_ENDED[body['state']]}{why}"]
    if "summary" in body:
        lines.append(f"It says: {body['summary']}")
    lines += [f"Criterion {name}: {text}" for name, text in body.get("evidence", {}).items()]
    if "commit" in body and body["state"] == State.COMPLETED:
        lines.append(f"Its work is not in yours yet: git merge {body['commit']}")
    elif "commit" in body:
        lines.append(f"What it did until then, unverified, is commit {body['commit']}")
    return "\n".join(lines)


_ENDED = {"completed": "completed", "failed": "failed", "cancelled": "been cancelled"}
