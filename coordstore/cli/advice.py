"""What a person should know and do about a session: what is stuck and why, and the next command to type."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, NamedTuple

from coordstore.cli.text import clean
from coordstore.session.states import FINAL, State

if TYPE_CHECKING:
    from coordstore.session.task import Task
    from coordstore.session.view import SessionView

__all__ = ["Concern", "concerns", "next_commands", "standing", "waits_for"]

NOBODY = "nobody orchestrates this session any more: it was stopped, or its orchestrator died"


class Concern(NamedTuple):
    """Something that does not go on by itself."""

    task: str
    text: str


def standing(view: SessionView, task: Task) -> str:
    """Return in one word what became of a task's work in the merge; empty when it is not there yet."""
    if view.landed(task.id):
        return "landed"
    if view.left_out(task.id):
        return "refused"
    if view.merged(task.id).get("merged"):
        return "merged"
    if task.parent is not None:
        return ""
    return "waiting" if task.state is State.COMPLETED and not view.result.get("final") else ""


def waits_for(view: SessionView, task: Task) -> list[str]:
    """Return the tasks that a pending one still waits for."""
    if task.state is not State.PENDING:
        return []
    return [need for need in task.needs if not view.merged(need).get("merged")]


def concerns(view: SessionView) -> list[Concern]:
    """Return what is stuck, the session itself first."""
    stopped = [Concern("", NOBODY)] if view.state == "stopped" and _unfinished(view) else []
    return [*stopped, *(Concern(task.id, text) for task in view.ordered() if (text := _concern(task)))]


def _concern(task: Task) -> str | None:
    """Return why a task does not go on, or None when it does or is done."""
    latest = task.latest
    if latest is None or task.state in FINAL:
        return None
    if latest.lost:
        return f"{latest.agent} has lost its worker; it will be tried again by whoever orchestrates"
    asked = latest.text("cancel")
    if asked is not None:
        return f"{latest.agent} was asked to stop and has not ended yet{': ' + asked if asked else ''}"
    return None


def _unfinished(view: SessionView) -> bool:
    return any(task.state not in FINAL or standing(view, task) == "waiting" for task in view.ordered())


def next_commands(view: SessionView, *, named: bool = True) -> list[str]:
    """Return the commands that a person will want next, the likeliest last.

    Args:
        view: The session.
        named: Whether commands must name the session, because it is not the only one.
    """
    option = f" --session {view.session}" if named else ""
    failed = [task for task in view.ordered() if task.state is State.FAILED and task.latest]
    commands = [f"coord logs {task.latest.agent}{option}" for task in failed[:1] if task.latest]
    ref = view.result.get("ref")
    if isinstance(ref, str):
        commands.append(f"git merge {ref.removeprefix('refs/heads/')}")
    elif view.state == "running":
        commands.append(f"coord inspect {view.session} --watch")
    elif view.state == "stopped":
        plan = clean(str(view.meta.get("plan") or "PLAN"))
        commands.append(f"coord run {shlex.quote(plan)} --session {view.session}")
    return commands
