"""`coord pause` and `coord resume`: nothing new starts in a session, until it may again; what runs goes on."""

from __future__ import annotations

import asyncio

import click

from coordstore.cli.context import Settings, pass_settings
from coordstore.session import State
from coordstore.session.session import as_value, now_text
from coordstore_orchestrator.cli.existing import open_session

__all__ = ["pause", "resume"]


@click.command()
@click.argument("session")
@click.option("--reason", default="", help="Recorded with it.")
@pass_settings
def pause(settings: Settings, session: str, reason: str) -> int:
    """Start nothing new in SESSION: no attempt is made or claimed. Agents that run go on, and their work is merged."""
    return asyncio.run(_pause(settings, session, reason))


@click.command()
@click.argument("session")
@pass_settings
def resume(settings: Settings, session: str) -> int:
    """Let SESSION start attempts again after `coord pause`."""
    return asyncio.run(_resume(settings, session))


async def _pause(settings: Settings, name: str, reason: str) -> int:
    async with open_session(settings, name) as (session, view):
        await session.store.put(session.keys.paused, as_value({"since": now_text(), "reason": reason}))
    running = sum(task.state is State.RUNNING for task in view.tasks.values())
    print(f"session {name} is paused; {running} agents go on: coord resume {name}")
    return 0


async def _resume(settings: Settings, name: str) -> int:
    async with open_session(settings, name) as (session, _):
        was = await session.store.delete(session.keys.paused)
    print(f"session {name} goes on" if was else f"session {name} was not paused")
    return 0
