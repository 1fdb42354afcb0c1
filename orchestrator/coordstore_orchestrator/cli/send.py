"""`coord send`: a message from a person to a task, an attempt, or the orchestrator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import click

from coordstore.cli.context import Settings, pass_settings
from coordstore.errors import InvalidArgument
from coordstore.recipes import Mailbox
from coordstore_orchestrator.cli.existing import open_session
from coordstore_orchestrator.monitor.decide import settled
from coordstore_orchestrator.monitor.watch import ORCHESTRATOR

if TYPE_CHECKING:
    from coordstore.session import SessionView

__all__ = ["send"]

PERSON: Final = "person"


@click.command()
@click.argument("session")
@click.argument("to")
@click.argument("text")
@click.option("--ttl", type=click.FloatRange(min=1), default=3600.0, metavar="SECONDS", help="When it is dead [3600].")
@pass_settings
def send(settings: Settings, session: str, to: str, text: str, ttl: float) -> int:
    """Send TEXT to a task of SESSION (whichever attempt runs), to one attempt (as t1.1), or to "orchestrator".

    An agent gets it with its next report, or when it asks for its messages.
    """
    return asyncio.run(_send(settings, session, to, text, ttl))


async def _send(settings: Settings, name: str, to: str, text: str, ttl: float) -> int:
    async with open_session(settings, name) as (session, view):
        _check(view, to)
        sent = await Mailbox(session.store, name, PERSON).send(to, {"text": text}, ttl=ttl)
    print(f"sent to {to}: {sent}")
    return 0


def _check(view: SessionView, to: str) -> None:
    """Refuse a receiver who will never read."""
    attempt = view.attempt(to)
    task = view.tasks.get(attempt.task if attempt else to)
    if to == ORCHESTRATOR:
        return
    if task is None:
        known = ", ".join([*view.tasks, ORCHESTRATOR])
        message = f"session {view.session} has nobody called {to!r}: write to {known}, or an attempt such as t1.1"
        raise InvalidArgument(message)
    if settled(view, task) or (attempt is not None and attempt is not task.latest):
        message = f"{to} has ended and reads nothing any more: `coord retry {view.session} {task.id}` tries it again"
        raise InvalidArgument(message)
