"""`coord inspect`: sessions as they stand, for people and for programs, once or live."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from coordstore.cli.completion import complete_session
from coordstore.cli.context import Settings, open_existing, pass_settings
from coordstore.cli.overview import brief, overview
from coordstore.cli.reading import EMPTY, choose_session, one_session, store_json
from coordstore.cli.text import Style
from coordstore.session.catalog import sessions

if TYPE_CHECKING:
    from coordstore.session.view import SessionView
    from coordstore.store import CoordStore

__all__ = ["inspect"]

SCHEMA = 1


@click.command(short_help="Show sessions, their tasks and agents, and what is stuck.")
@click.argument("session", required=False, shell_complete=complete_session)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; `coord schema inspect` describes it.")
@click.option("--watch", is_flag=True, help="Stay and show every change, until the session ends.")
@click.option("--no-color", is_flag=True, help="No colours, as with NO_COLOR.")
@pass_settings
def inspect(settings: Settings, session: str | None, *, as_json: bool, watch: bool, no_color: bool) -> None:
    """Show what runs where and since when, what is stuck and why, and what to do next.

    Without SESSION all of them are shown (with --watch the newest). Nothing is ever changed or created.
    """
    asyncio.run(_inspect(settings.store_url(), session, as_json, watch, Style.of(sys.stdout, no_color=no_color)))


async def _inspect(url: str, session: str | None, as_json: bool, watch: bool, style: Style) -> None:  # noqa: FBT001
    async with open_existing(url) as store:
        if store is not None and watch:
            from coordstore.cli.watching import watch_session

            await watch_session(store, await choose_session(store, session), style, url, as_json=as_json)
            return
        views = await _views(store, session)
        if as_json:
            # Indented only for people to read: it takes four times as long.
            print(json.dumps(await document(store, views), indent=2 if sys.stdout.isatty() else None))
        elif views:
            print("\n".join(render(views, style, whole=session is not None)))
        else:
            print(EMPTY)


async def _views(store: CoordStore | None, session: str | None) -> list[SessionView]:
    if session is not None:
        name = await choose_session(store, session)
        return [await one_session(store, name)] if store else []
    return await sessions(store) if store else []


async def document(store: CoordStore | None, views: list[SessionView]) -> dict[str, Any]:
    """Return what `--json` prints."""
    return {"schema": SCHEMA, "store": await store_json(store), "sessions": [view.as_json() for view in views]}


def render(views: list[SessionView], style: Style, *, whole: bool = False) -> list[str]:
    """Return sessions as lines, the newest last; those that ended, but for the newest, in one line each."""
    now = datetime.now(UTC)
    lines: list[str] = []
    for view in views:
        if whole or view is views[-1] or not view.result.get("final"):
            lines += ["", *overview(view, now, style, named=not whole and view is not views[-1])]
        else:
            lines.append(brief(view, style))
    return lines[1:] if lines and not lines[0] else lines
