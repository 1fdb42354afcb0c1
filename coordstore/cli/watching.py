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
from coordstore.cli.overview import overview, tally
from coordstore.cli.reading import store_json, watch_view
from coordstore.cli.screen import Screen
from coordstore.cli.text import clean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.cli.text import Style
    from coordstore.session.view import SessionView, Task
    from coordstore.store import CoordStore

__all__ = ["watch_session"]

TICK: Final = 1.0
"""Seconds after which the ages on the screen are brought up to date; the store is not asked for that."""
FRAME: Final = 0.05
"""Seconds that one picture stands at least, however fast the changes come."""


async def watch_session(store: CoordStore, session: str, style: Style, *, as_json: bool = False) -> None:
    """Show a session until it ends, the user quits, or the session is deleted.

    Args:
        store: Where it lives.
        session: Its name.
        style: The output's looks.
        as_json: Print one JSON document a line instead, now and after every change.

    Cancelling it gives the terminal back as it was.
    """
    if as_json:
        await _documents(store, session)
    elif sys.stdout.isatty():
        await _live(store, session, style)
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


async def _live(store: CoordStore, session: str, style: Style) -> None:
    """Draw the session on the whole screen until it ends or somebody quits; leave its last state below the prompt."""
    latest: list[SessionView] = []
    changed = asyncio.Event()
    with Screen(changed) as screen:
        pump = asyncio.create_task(_pump(store, session, latest, changed))
        try:
            while not (screen.quit or pump.done()):
                await _wait(changed, TICK)
                changed.clear()
                if latest:
                    style.width = screen.width
                    foot = style.paint(f"  {datetime.now().astimezone():%H:%M:%S}  q quits", "dim")
                    lines = overview(latest[0], datetime.now(UTC), style, rows=screen.height - 1)
                    screen.draw([*lines[: screen.height - 1], foot])
                    await _wait(screen.quitting, FRAME)
        finally:
            pump.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await pump
    _say_last(latest[0] if latest else None, style)
    if screen.interrupted:
        raise KeyboardInterrupt


def _say_last(view: SessionView | None, style: Style, before: Sequence[str] = ()) -> None:
    """Print a session as it was in the end."""
    if view is None:
        return
    if not view.meta:
        print(f"coord: session {view.session} was deleted", file=sys.stderr)
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
        await asyncio.wait_for(event.wait(), seconds)
