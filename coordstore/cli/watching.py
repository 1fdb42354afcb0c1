"""`coord inspect --watch`: redrawn on a terminal when the store reports a change, plain lines where it is piped."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from contextlib import aclosing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from coordstore.cli.advice import standing
from coordstore.cli.context import notice
from coordstore.cli.live import Live, latest_events, run_command
from coordstore.cli.overview import overview, tally
from coordstore.cli.reading import store_json, watch_view
from coordstore.cli.screen import Screen
from coordstore.cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.cli.text import Style
    from coordstore.session.task import Task
    from coordstore.session.view import SessionView
    from coordstore.store import CoordStore

__all__ = ["watch_session"]

TICK: Final = 1.0
"""Seconds after which the ages on the screen are brought up to date; the store is not asked for that."""
FRAME: Final = 0.05
"""Seconds that one picture stands at least, however fast the changes come."""


async def watch_session(store: CoordStore, session: str, style: Style, url: str, *, as_json: bool = False) -> None:
    """Show a session until it ends, the user quits, or the session is deleted.

    Args:
        store: Where it lives.
        session: Its name.
        style: The output's looks.
        url: The store's, for the commands that keys run.
        as_json: Print one JSON document a line instead, now and after every change.

    Cancelling it gives the terminal back as it was.
    """
    if as_json:
        await _documents(store, session)
    elif sys.stdout.isatty():
        await _live(store, session, style, url)
    else:
        await _lines(store, session, style)


async def _documents(store: CoordStore, session: str) -> None:
    about = await store_json(store)
    async with aclosing(watch_view(store, session)) as views:
        async for view in views:
            shown = {**(about or {}), "revision": view.revision}
            print(json.dumps({"schema": 1, "store": shown, "sessions": [view.as_json()]}), flush=True)


async def _lines(store: CoordStore, session: str, style: Style) -> None:
    """Print what a piped watch shows: each task's changes as lines, and the whole session at the end."""
    known: dict[str, str] = {}
    last = None
    async with aclosing(watch_view(store, session)) as views:
        async for view in views:
            if last is None:
                print(f"{view.session}  {view.state}  {tally(view)}", flush=True)
            for task in view.ordered():
                told = _telling(view, task)
                if known.get(task.id, "pending") != told:
                    print(f"{datetime.now().astimezone():%H:%M:%S}  {task.id}  {told}", flush=True)
                known[task.id] = told
            last = view
    _say_last(last, style, [""])


def _telling(view: SessionView, task: Task) -> str:
    latest = task.latest
    state = "lost" if latest and latest.lost else str(task.state)
    attempt = f" (attempt {latest.number})" if latest and latest.number > 1 else ""
    reason = view.reason(task)
    said = f"{state}{attempt}, {standing(view, task)}".removesuffix(", ")
    return clean(f"{said}: {reason}" if reason else said)


async def _live(store: CoordStore, session: str, style: Style, url: str) -> None:
    """Draw the session on the whole screen until it ends or somebody quits; leave its last state below the prompt."""
    latest: list[SessionView] = []
    changed = asyncio.Event()
    beside = _Beside(url, changed)
    live = beside.live
    with Screen(changed) as screen:
        pump = asyncio.create_task(_pump(store, session, latest, changed))
        try:
            while not (screen.quit or pump.done()):
                await _wait(changed, TICK)
                changed.clear()
                while screen.keys and latest:
                    live.key(screen.keys.popleft(), latest[0])
                if live.quit:
                    break
                if latest:
                    await _draw(store, latest[0], live, screen, style)
                    await _wait(screen.quitting, FRAME)
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
    _say_last(latest[0] if latest else None, style)
    if screen.interrupted:
        raise KeyboardInterrupt


async def _draw(store: CoordStore, view: SessionView, live: Live, screen: Screen, style: Style) -> None:
    if agent := live.agent(view):
        live.events = await latest_events(store, view.keys.stream(agent))
    style.width = screen.width
    screen.draw(live.lines(view, datetime.now(UTC), style, screen.height))


class _Beside:
    """Runs commands beside the view, and shows how they ended."""

    def __init__(self, url: str, changed: asyncio.Event) -> None:
        self.live = Live(self.run)
        self._url = url
        self._changed = changed
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, words: Sequence[str]) -> None:
        task = asyncio.ensure_future(self._run(words))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, words: Sequence[str]) -> None:
        try:
            self.live.message = await run_command(self._url, words)
        except OSError as error:
            self.live.message = f"{words[0]} cannot be run: {error.strerror}"
        self._changed.set()


def _say_last(view: SessionView | None, style: Style, before: Sequence[str] = ()) -> None:
    """Print a session as it was in the end."""
    if view is None:
        return
    if not view.meta:
        notice(f"session {view.session} was deleted")
        return
    print("\n".join([*before, *overview(view, datetime.now(UTC), style)]), flush=True)


async def _pump(store: CoordStore, session: str, latest: list[SessionView], changed: asyncio.Event) -> None:
    """Keep the view up to date, and say so."""
    try:
        async with aclosing(watch_view(store, session)) as views:
            async for view in views:
                latest[:] = [view]
                changed.set()
    finally:
        changed.set()


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
