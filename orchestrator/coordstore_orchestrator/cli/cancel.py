"""`coord cancel`: stops tasks, whether somebody runs them or not."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import TYPE_CHECKING

import click

from coordstore.cli.completion import complete_session
from coordstore.cli.context import Settings, open_existing, pass_settings
from coordstore.errors import Conflict, InvalidArgument, InvalidTransition
from coordstore.session import FINAL, State
from coordstore.session.session import Session
from coordstore_orchestrator.monitor.decide import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.session import SessionView, Task

__all__ = ["cancel"]


@click.command()
@click.argument("session", shell_complete=complete_session)
@click.argument("tasks", nargs=-1, metavar="[TASK…]")
@click.option("--reason", default="cancelled by a person", help="Recorded with each of them.")
@click.option("--wait", default=30.0, metavar="SECONDS", help="How long to wait for running agents to be gone [30].")
@click.option("--json", "as_json", is_flag=True, help="Print what was cancelled as JSON.")
@pass_settings
def cancel(settings: Settings, session: str, tasks: Sequence[str], reason: str, wait: float, *, as_json: bool) -> int:
    """Cancel TASKs of SESSION, or all that are not finished. Their work so far stays on their branches."""
    return asyncio.run(_cancel(settings, session, tasks, reason, wait, as_json=as_json))


async def _cancel(
    settings: Settings, name: str, wanted: Sequence[str], reason: str, wait: float, *, as_json: bool
) -> int:
    async with open_existing(settings.store_url()) as store:
        if store is None:
            message = f"there is no session {name!r}: no session was ever started here"
            raise InvalidArgument(message)
        session = Session(store, name)
        chosen = _chosen(await session.view(), name, wanted)
        try:
            async with asyncio.timeout(wait):
                await _until_ended(session, chosen, reason)
        except TimeoutError:
            click.echo(f"coord: some agents have not ended after {wait:g} s: coord inspect {name}", err=True)
        view = await session.view()
    rows = {task: str(view.tasks[task].state) for task in chosen if task in view.tasks}
    if as_json:
        print(json.dumps({"schema": 1, "session": name, "tasks": rows}))
    else:
        print(
            "\n".join(f"{task}: {state}" for task, state in rows.items()) or "nothing to cancel: all tasks are finished"
        )
    return 0 if all(state in FINAL for state in rows.values()) else 1


def _chosen(view: SessionView, name: str, wanted: Sequence[str]) -> list[str]:
    if not view.tasks:
        message = f"there is no session {name!r}: `coord inspect` lists them"
        raise InvalidArgument(message)
    unknown = sorted(set(wanted) - set(view.tasks))
    if unknown:
        message = f"session {name} has no task {', '.join(unknown)}: it has {', '.join(view.tasks)}"
        raise InvalidArgument(message)
    return [task.id for task in view.ordered() if (task.id in wanted or not wanted) and _goes_on(view, task)]


def _goes_on(view: SessionView, task: Task) -> bool:
    """Tell whether a task runs, waits, or would be tried again."""
    return task.state is not State.COMPLETED and not settled(view, task)


async def _until_ended(session: Session, chosen: Sequence[str], reason: str) -> None:
    """Cancel, and cancel again what changes under our hands, until all are in a final state."""
    asked: set[str] = set()
    async with aclosing(session.views()) as views:
        async for view in views:
            known = [view.tasks[task] for task in chosen if task in view.tasks]
            open_tasks = [task for task in known if _goes_on(view, task)]
            if not open_tasks:
                return
            for task in open_tasks:
                await _cancel_task(session, task, reason, asked)


async def _cancel_task(session: Session, task: Task, reason: str, asked: set[str]) -> None:
    latest = task.latest
    try:
        if latest is None or latest.state in FINAL:
            await session.cancel_unstarted(task, reason)
        elif latest.state is State.PENDING or latest.lost:
            await session.end(latest, State.CANCELLED, {"code": "cancelled", "reason": reason})
        elif latest.agent not in asked:
            asked.add(latest.agent)
            await session.request_cancel(latest.agent, reason)
    except (Conflict, InvalidArgument, InvalidTransition):
        return  # it moved on; the next view shows where to
