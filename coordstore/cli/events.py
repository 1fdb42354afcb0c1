"""`coord events`: what happened in a session over all agents, in the order it was recorded."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from coordstore.cli.completion import complete_agent, complete_session
from coordstore.cli.context import Settings, notice, open_existing, pass_settings
from coordstore.cli.reading import NoSuchAgent, choose_session, one_session, watch_view
from coordstore.cli.telling import TELLERS, event_line, parse_event
from coordstore.cli.text import Style
from coordstore.cli.times import local_day, moment, parse_time
from coordstore.session.cursor import take_events
from coordstore.session.keys import SESSION_STREAM, SessionKeys

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from coordstore.model import Record
    from coordstore.store import CoordStore

__all__ = ["events"]

FEW: Final = 20
"""Agents whose events are read one agent after the other; of more than that, in one pass over all."""


class Wanted(NamedTuple):
    """Which events are wanted.

    Args:
        agents: Of these agents, or of these tasks' agents, only; empty: of all.
        types: Of these types only; empty: of all.
        position: Behind this sequence or revision.
        by_sequence: Whether the position is a sequence of the one stream, not a revision of the store.
        since: From this moment on.
    """

    agents: frozenset[str]
    types: frozenset[str]
    position: int
    by_sequence: bool
    since: datetime | None

    def of(self, agent: str) -> bool:
        """Tell whether events of an agent can be wanted."""
        return not self.agents or agent in self.agents or agent.rpartition(".")[0] in self.agents

    def has(self, agent: str, record: Record, event: dict[str, Any]) -> bool:
        """Tell whether an event is wanted."""
        if not self.of(agent):
            return False
        place = record.sequence if self.by_sequence else record.revision
        if place <= self.position or (self.types and event["type"] not in self.types):
            return False
        at = parse_time(str(event.get("at"))) if self.since else None
        return self.since is None or (at is not None and at >= self.since)


class Printer:
    """Prints the wanted ones of a session's records.

    Args:
        session: Its name.
        wanted: Which.
        style: The output's looks; None: JSON lines.
        live: Whether somebody waits for each line; else they are written many at a time.
    """

    def __init__(self, session: str, wanted: Wanted, style: Style | None, *, live: bool) -> None:
        self._session = session
        self._wanted = wanted
        self._style = style
        self._live = live
        self._prefix = SessionKeys(session).events + "/"
        self._day = f"{datetime.now().astimezone():%Y-%m-%d}"
        self.agent_width = 10
        self.printed = 0
        self.cursor: dict[str, int] = {}

    def take(self, record: Record) -> None:
        """Print a record if it is wanted."""
        self.cursor[record.stream] = record.sequence
        event = parse_event(record.data)
        agent = record.stream.removeprefix(self._prefix)
        if not self._wanted.has(agent, record, event):
            return
        self.printed += 1
        if self._style:
            self._say_day(local_day(str(event.get("at"))), self._style)
            self.agent_width = max(self.agent_width, len(agent))
            print(event_line(agent, event, self._style, self.agent_width), flush=self._live)
            return
        place = {"agent": agent, "sequence": record.sequence, "revision": record.revision}
        print(json.dumps({"schema": 1, "session": self._session, **place, "event": event}), flush=self._live)

    def _say_day(self, day: str, style: Style) -> None:
        """Print the date where it changes; lines tell only the time of day."""
        if day not in ("", self._day):
            print(style.paint(f"-- {day}", "dim"))
            self._day = day


@click.command(short_help="Show what happened in a session, in order.")
@click.argument("session", required=False, shell_complete=complete_session)
@click.option("--follow", "-f", is_flag=True, help="Stay and print new events, until the session ends.")
@click.option(
    "--agent",
    "agents",
    multiple=True,
    metavar="AGENT",
    shell_complete=complete_agent,
    help="Only of this agent, or this task's agents.",
)
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Only of this type, as state, error, tool_call.")
@click.option(
    "--since",
    metavar="SEQ|TIME",
    help="Only behind this number (with one --agent T1.1: of its own sequence; else a revision of the store), or from"
    " this time on: 15m (ago), 14:30, or RFC 3339.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line; `coord schema events` describes them.")
@click.option("--no-color", is_flag=True, help="No colours, as with NO_COLOR.")
@pass_settings
def events(
    settings: Settings,
    session: str | None,
    *,
    follow: bool,
    agents: Sequence[str],
    types: Sequence[str],
    since: str | None,
    as_json: bool,
    no_color: bool,
) -> None:
    """Show what happened in SESSION, over all agents in the order it was recorded; without SESSION, in the newest."""
    position, start = _since(since)
    style = None if as_json else Style.of(sys.stdout, no_color=no_color)
    one_stream = len(agents) == 1 and ("." in agents[0] or agents[0] == SESSION_STREAM)
    wanted = Wanted(frozenset(agents), frozenset(types), position, one_stream, start)
    asyncio.run(_events(settings.store_url(), session, wanted, style, follow=follow))


def _since(text: str | None) -> tuple[int, datetime | None]:
    """Take ``--since`` as a number or as a moment."""
    if text is None or text.isdecimal():
        return int(text or 0), None
    found = moment(text, datetime.now(UTC))
    if found is None:
        message = f"--since {text!r} is neither a number nor a time: write 15m, 14:30 or 2030-01-31T14:30:00Z"
        raise click.UsageError(message)
    return 0, found


async def _events(url: str, session: str | None, wanted: Wanted, style: Style | None, *, follow: bool) -> None:
    async with open_existing(url) as store:
        name = await choose_session(store, session)
        if store is None:
            return
        printer = Printer(name, wanted, style, live=follow)
        prefix = SessionKeys(name).events + "/"
        there = [stream.removeprefix(prefix) for stream in await store.heads(prefix)]
        if wanted.agents:
            await _check_agents(store, name, wanted.agents, there)
        printer.agent_width = max([10, *map(len, there)])
        if follow:
            await _follow(store, name, printer)
        else:
            await _print(store, prefix, [agent for agent in there if wanted.of(agent)], printer)
    unknown = sorted(wanted.types - TELLERS.keys())
    if unknown and not printer.printed:
        notice(f"no event is of type {', '.join(unknown)}; known are {', '.join(TELLERS)}")


async def _print(store: CoordStore, prefix: str, agents: Collection[str], printer: Printer) -> None:
    """Print what is recorded of some agents: a few of them without reading the others."""
    if len(agents) > FEW:
        await take_events(store, prefix, printer.take)
        return
    found: list[Record] = []
    for agent in agents:
        await take_events(store, prefix + agent, found.append)
    for record in sorted(found, key=attrgetter("revision")):
        printer.take(record)


async def _check_agents(store: CoordStore, session: str, agents: Collection[str], there: Collection[str]) -> None:
    """Refuse agents that the session does not have.

    Raises:
        NoSuchAgent: Those that have events are named.
    """
    unknown = set(agents).difference(there, (name.rpartition(".")[0] for name in there))
    if unknown and (unknown := unknown.difference((await one_session(store, session)).tasks)):
        names = ", ".join(sorted(there)) or "none yet"
        message = f"session {session} has no agent {', '.join(sorted(unknown))}: those with events are {names}"
        raise NoSuchAgent(message)


async def _follow(store: CoordStore, session: str, printer: Printer) -> None:
    """Print until the session has ended and all that was recorded up to then is printed."""
    prefix = SessionKeys(session).events
    taken = asyncio.Event()

    async def take() -> None:
        async with aclosing(store.follow(prefix)) as records:
            async for record in records:
                printer.take(record)
                taken.set()

    async def until_ended() -> None:
        async with aclosing(watch_view(store, session)) as views:
            async for _ in views:
                pass
        heads = await store.heads(prefix)
        while any(printer.cursor.get(stream, 0) < head for stream, head in heads.items()):
            taken.clear()
            await taken.wait()

    tasks = [asyncio.create_task(take()), asyncio.create_task(until_ended())]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
