"""`coord report`: what became of a session, and why, failures first."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordstore.cli.completion import complete_session
from coordstore.cli.context import Settings, notice, open_existing, pass_settings
from coordstore.cli.files import write_whole
from coordstore.cli.reading import choose_session, store_json
from coordstore.cli.report.account import read_account
from coordstore.cli.text import Style

if TYPE_CHECKING:
    from typing import Any

    from coordstore.cli.report.account import Account

__all__ = ["report"]


@click.command(short_help="Tell what became of a session: text, JSON, or one HTML page.")
@click.argument("session", required=False, shell_complete=complete_session)
@click.option(
    "--html",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Write one self-contained page; - is standard output.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; `coord schema report` describes it.")
@click.option("--no-color", is_flag=True, help="No colours, as with NO_COLOR.")
@pass_settings
def report(settings: Settings, session: str | None, html: Path | None, *, as_json: bool, no_color: bool) -> None:
    """Tell what became of SESSION (by default the newest): failures first, with their evidence.

    The page needs no network, runs no script, and can be sent, printed, and read on a phone.
    """
    account, store = asyncio.run(_read(settings.store_url(), session))
    if as_json:
        document = {"schema": 1, "store": store, "session": account.as_json()}
        print(json.dumps(document, indent=2 if sys.stdout.isatty() else None))
    if html is not None:
        from coordstore.cli.report.page import page

        _write(html, page(account))
    elif not as_json:
        from coordstore.cli.report.plain import lines

        print("\n".join(lines(account, Style.of(sys.stdout, no_color=no_color))))


async def _read(url: str, session: str | None) -> tuple[Account, dict[str, Any] | None]:
    async with open_existing(url) as store:
        name = await choose_session(store, session)
        if store is None:  # never: without a store no session was found
            raise AssertionError
        return await read_account(store, name, datetime.now(UTC)), await store_json(store)


def _write(path: Path, text: str) -> None:
    if str(path) == "-":
        sys.stdout.buffer.write(text.encode())
        sys.stdout.buffer.flush()
        return
    write_whole(path, text)
    notice(f"wrote {path}")
