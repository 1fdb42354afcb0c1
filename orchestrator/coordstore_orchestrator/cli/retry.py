"""`coord retry`: gives tasks that failed or were cancelled another attempt, with a hint if you like."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from coordstore.cli.context import Settings, pass_settings
from coordstore.errors import InvalidArgument
from coordstore.model import Check, Put
from coordstore.session import State
from coordstore.session.session import as_value
from coordstore.session.values import as_text
from coordstore_orchestrator.cli.existing import known_tasks, open_session
from coordstore_orchestrator.monitor.decide import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.session import SessionView, Task
    from coordstore.session.session import Session

__all__ = ["retry"]


@click.command()
@click.argument("session")
@click.argument("tasks", nargs=-1, metavar="[TASK…]")
@click.option("--hint", default="", help="What the new attempts are told beyond the prompt.")
@pass_settings
def retry(settings: Settings, session: str, tasks: Sequence[str], hint: str) -> int:
    """Try TASKs of SESSION again, or all that failed or were cancelled, and those that could not start without them.

    A run of the session takes it up at once; when none is under way, the command to type is printed.
    """
    return asyncio.run(_retry(settings, session, tasks, hint))


async def _retry(settings: Settings, name: str, wanted: Sequence[str], hint: str) -> int:
    async with open_session(settings, name) as (session, view):
        known_tasks(view, wanted)
        for each in wanted:
            _check(view, view.tasks[each])
        chosen = _chosen(view, wanted)
        if not chosen:
            print("nothing to retry: no task has failed or was cancelled")
            return 0
        await _ask(session, view, chosen, hint)
    for task in chosen:
        print(f"{task.id}: attempt {task.next_attempt} is asked for")
    if not view.leader:
        print(f"coord run {view.meta.get('plan', 'PLAN')} --session {name}")
    return 0


def _check(view: SessionView, task: Task) -> None:
    """Refuse a task that cannot be tried again, with the reason."""
    if task.parent is not None:
        said = f"it is a subtask of {task.parent}: its parent delegates it again when that is tried again"
    elif task.state is State.COMPLETED:
        told = view.left_out(task.id)
        said = f"its work was left out: {told}; repair it in a new plan" if told else "it is completed"
    elif not settled(view, task):
        said = f"it is {task.state}: cancel it first, or wait"
    else:
        return
    message = f"task {task.id} is not tried again: {said}"
    raise InvalidArgument(message)


def _chosen(view: SessionView, wanted: Sequence[str]) -> list[Task]:
    """Return the tasks to try again, with those that were cancelled because they need one of them."""
    chosen: dict[str, Task] = {}
    while True:
        more = [task for task in view.ordered() if task.id not in chosen and _fits(view, task, wanted, chosen)]
        if not more:
            return [task for task in view.ordered() if task.id in chosen]
        chosen |= {task.id: task for task in more}


def _fits(view: SessionView, task: Task, wanted: Sequence[str], chosen: dict[str, Task]) -> bool:
    if task.parent or task.state not in (State.FAILED, State.CANCELLED) or not settled(view, task):
        return False
    waits = any((task.reason or "").startswith(f"needs {need},") for need in task.needs if need in chosen)
    return not wanted or task.id in wanted or waits


async def _ask(session: Session, view: SessionView, chosen: Sequence[Task], hint: str) -> None:
    """Ask for the attempts; a session that had ended goes on."""
    for task in chosen:
        latest = task.latest
        if latest is None:
            continue
        status = latest.entries["status"]
        ask = Put(session.keys.agent(latest.agent, "retry"), as_text(hint))
        await session.store.transact([ask], [Check(status.key, revision=status.revision)])
    entry = view.entries.get(session.keys.result)
    if entry is not None:
        kept = {name: value for name, value in view.result.items() if name not in ("final", "ended")}
        await session.store.put(entry.key, as_value(kept), expect=entry.revision)
