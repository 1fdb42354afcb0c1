"""`coord logs`: what an agent printed, from the files that its worker keeps."""

from __future__ import annotations

import asyncio
import codecs
import os
import sys
from contextlib import aclosing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final

import click

from coordstore.cli.completion import complete_agent, complete_session
from coordstore.cli.context import Settings, notice, open_existing, pass_settings
from coordstore.cli.logfiles import LogReader
from coordstore.cli.reading import choose_session, find_attempt, one_session, watch_view
from coordstore.cli.text import clean
from coordstore.errors import CoordError
from coordstore.home import NotARepository, log_dir
from coordstore.session.states import FINAL

if TYPE_CHECKING:
    from coordstore.session.task import Attempt
    from coordstore.session.view import SessionView
    from coordstore.store import CoordStore

__all__ = ["ElsewhereError", "logs"]

LOOK: Final = 0.1
"""Seconds between two looks at a growing file: agents write it, and no store reports that."""


class ElsewhereError(CoordError, LookupError):
    """The output lies on another host, or is gone."""

    hint: ClassVar[str] = "Log in to the host that is named and run the same command there."


@click.command(short_help="Show what an agent printed.")
@click.argument("agent", shell_complete=complete_agent)
@click.option(
    "--session",
    metavar="SESSION",
    shell_complete=complete_session,
    help="The session it belongs to; by default the newest.",
)
@click.option("--stderr", is_flag=True, help="What it printed as errors, instead of its output.")
@click.option("--follow", "-f", is_flag=True, help="Stay and print what comes, until the agent ends.")
@click.option("--raw", is_flag=True, help="Keep control sequences also on a terminal.")
@pass_settings
def logs(settings: Settings, agent: str, *, session: str | None, stderr: bool, follow: bool, raw: bool) -> None:
    """Show what AGENT printed: an attempt as t1.1, or a task, which stands for its latest attempt.

    On a terminal, control sequences are taken out, so that an agent's output cannot act on it.
    """
    name = "stderr" if stderr else "stdout"
    asyncio.run(
        _logs(
            settings.store_url(),
            _home(settings),
            agent,
            session,
            name,
            Output(raw=raw or not sys.stdout.isatty()),
            follow=follow,
        )
    )


class Output:
    """Writes bytes of an agent to stdout, made harmless unless raw.

    Args:
        raw: Byte for byte.
    """

    def __init__(self, *, raw: bool) -> None:
        self.written = 0
        self._raw = raw
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def write(self, data: bytes) -> None:
        """Write a piece."""
        self.written += len(data)
        made = data if self._raw else clean(self._decode(data), keep="\n\t").encode(errors="replace")
        sys.stdout.buffer.write(made)
        sys.stdout.buffer.flush()


async def _logs(
    url: str, home: Path | None, agent: str, session: str | None, name: str, output: Output, *, follow: bool
) -> None:
    async with open_existing(url) as store:
        chosen = await choose_session(store, session)
        if store is None:
            return
        view = await one_session(store, chosen)
        attempt = find_attempt(view, agent)
        reader = LogReader(await asyncio.to_thread(_folder, home, view, attempt), name)
        while data := await asyncio.to_thread(reader.read):
            output.write(data)
        if follow and attempt.state not in FINAL:
            await _follow(store, chosen, attempt.agent, reader, output)
    if not output.written:
        notice(f"{attempt.agent} has printed nothing on {name}")


def _home(settings: Settings) -> Path | None:
    """Return the home of the repository that this is called in; None outside of one, where ``--store`` was given."""
    with suppress(NotARepository):
        return settings.home()
    return None


def _folder(home: Path | None, view: SessionView, attempt: Attempt) -> Path:
    """Return where an attempt's output lies on this host; blocks.

    Raises:
        ElsewhereError: It ran on another host, or its output was removed; the place is named.
    """
    places = _places(home, view, attempt)
    host = attempt.text("host")
    if host and host != os.uname().nodename:
        where = f": look there, in {places[-1]}" if places else ""
        message = f"{attempt.agent} runs on {clean(host)}, and its output lies on that host{where}"
        raise ElsewhereError(message)
    for place in places:
        if place.is_dir():
            return place
    if host is None:
        message = f"{attempt.agent} has printed nothing: it is {attempt.state} and was never started"
    else:
        message = f"the output of {attempt.agent} is not in {places[0] if places else 'any known place'} any more"
    raise ElsewhereError(message)


def _places(home: Path | None, view: SessionView, attempt: Attempt) -> list[Path]:
    """Return where an attempt's output may lie: in this repository's home, or beside its worktree."""
    found = [log_dir(home, view.session, attempt.agent)] if home else []
    worktree = attempt.text("worktree")
    if worktree:
        found.append(Path(worktree).parent.parent / "logs" / attempt.agent)
    return found


async def _follow(store: CoordStore, session: str, agent: str, reader: LogReader, output: Output) -> None:
    """Print what comes until the attempt has ended and all of its output is printed."""
    ended = asyncio.create_task(_until_ended(store, session, agent))
    try:
        while True:
            over = ended.done()
            data = await asyncio.to_thread(reader.read)
            if data:
                output.write(data)
            elif over:
                return await ended
            else:
                await asyncio.wait([ended], timeout=LOOK)
    finally:
        ended.cancel()


async def _until_ended(store: CoordStore, session: str, agent: str) -> None:
    async with aclosing(watch_view(store, session)) as views:
        async for view in views:
            attempt = view.attempt(agent)
            if attempt is None or attempt.state in FINAL or attempt.lost:
                return
