"""The live view as a person works with it: which task is selected, what is asked, and what the keys do.

It writes nothing itself: to cancel or to try again it runs the command of that name, after asking.
"""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

from coordstore.cli.overview import overview
from coordstore.cli.telling import event_line, parse_event
from coordstore.cli.text import clean, clip
from coordstore.errors import Trimmed
from coordstore.plugins import commands

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from coordstore.cli.text import Style
    from coordstore.model import Record
    from coordstore.session.view import SessionView
    from coordstore.store import CoordStore

__all__ = ["Live", "latest_events", "run_command"]

PANEL: Final = 12
"""Lines of the events panel, at most; never more than half of the screen."""
ACTIONS: Final = {"c": "cancel", "r": "retry"}
PROGRAM: Final = (sys.executable, "-c", "from coordstore.cli.main import main; main()")


class Live:
    """One live view.

    Args:
        run: Runs a command of `coord` beside the view; is given its words.
    """

    def __init__(self, run: Callable[[Sequence[str]], None]) -> None:
        self.selected = ""
        self.showing = False
        self.message = ""
        self.events: list[Record] = []
        self.quit = False
        self._asked: list[str] = []
        self._run = run

    def __repr__(self) -> str:
        """Show what is selected."""
        return f"<Live selected={self.selected!r} events={self.showing}>"

    def key(self, name: str, view: SessionView) -> None:
        """Do what a key means: select, show or hide events, ask before a task is cancelled or tried again, quit."""
        if self._asked:
            self._answer(name)
            return
        self.message = ""
        order = [task.id for task in view.ordered()]
        if name in ("up", "down") and order:
            at = order.index(self.selected) if self.selected in order else -1 if name == "down" else 0
            self.selected = order[(at + (1 if name == "down" else -1)) % len(order)]
        elif name in ("e", "enter"):
            self._need(lambda: setattr(self, "showing", not self.showing))
        elif name in ACTIONS:
            self._need(lambda: self._ask(ACTIONS[name], view.session))
        elif name == "escape" and self.showing:
            self.showing = False
        elif name in ("q", "escape"):
            self.quit = True

    def _need(self, act: Callable[[], None]) -> None:
        """Do something with the selected task, or say that none is."""
        if self.selected:
            act()
        else:
            self.message = "select a task first: up and down, or k and j"

    def _ask(self, command: str, session: str) -> None:
        if command not in commands():
            self.message = f"there is no command {command} here"
            return
        self._asked = [command, session, self.selected]
        self.message = f"{command} task {self.selected}? y or n"

    def _answer(self, name: str) -> None:
        words, self._asked = self._asked, []
        if name == "y":
            self.message = f"{words[0]} {words[-1]} …"
            self._run(words)
        else:
            self.message = "nothing was done"

    def agent(self, view: SessionView) -> str:
        """Return the agent whose events are shown; empty: none."""
        task = view.tasks.get(self.selected)
        return task.latest.agent if self.showing and task and task.latest else ""

    def lines(self, view: SessionView, now: datetime, style: Style, rows: int) -> list[str]:
        """Return the whole picture; it fits the style's width and so many rows."""
        panel = self._panel(view, style, min(PANEL, rows // 2)) if self.showing else []
        room = rows - 1 - len(panel)
        body = overview(view, now, style, rows=room, selected=self.selected)[:room]
        body += [""] * (room - len(body) if panel else 0)
        return [*body, *panel, self._foot(now, style)]

    def _panel(self, view: SessionView, style: Style, rows: int) -> list[str]:
        agent = self.agent(view)
        title = f"  events of {agent}" if agent else f"  {self.selected} has not been started yet"
        shown = self.events[-(rows - 1) :] if agent else []
        found = [event_line("", parse_event(record.data), style, 0) for record in shown]
        return [style.paint(clip(title, style.width, style.mark), "bold"), *found]

    def _foot(self, now: datetime, style: Style) -> str:
        arrows = "↑↓" if style.unicode else "j k"
        help_line = f"q quits  {arrows} select  e events  c cancel  r retry"
        said = clean(self.message) or help_line
        return style.paint(clip(f"  {now.astimezone():%H:%M:%S}  {said}", style.width, style.mark), "dim")


async def latest_events(store: CoordStore, stream: str, count: int = PANEL) -> list[Record]:
    """Return the last records of a stream."""
    head = (await store.heads(stream)).get(stream, 0)
    after = max(0, head - count)
    try:
        return await store.read(stream, after)
    except Trimmed as trimmed:
        return await store.read(stream, trimmed.first - 1)


async def run_command(url: str, words: Sequence[str]) -> str:
    """Run a command of `coord` on the same store; return the last line that it printed.

    Cancelled: the command is not waited for any more; it goes on to its end.
    """
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        "--store",
        url,
        *words,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C in this terminal is meant for the view
    )
    out, _ = await process.communicate()
    lines = out.decode(errors="replace").strip().splitlines()
    return clean(lines[-1]) if lines else f"{words[0]}: done"
