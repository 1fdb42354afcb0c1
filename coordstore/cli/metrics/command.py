"""`coord metrics`: prints what Prometheus scrapes, or keeps it in a file for a node exporter."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import click

from coordstore.cli.completion import complete_session
from coordstore.cli.context import Settings, open_existing, pass_settings
from coordstore.cli.files import write_whole
from coordstore.cli.metrics.collect import families
from coordstore.cli.metrics.exposition import render
from coordstore.cli.reading import choose_session
from coordstore.cli.report.account import Account, read_account
from coordstore.session.catalog import sessions

__all__ = ["metrics"]

READABLE = 0o644
"""A node exporter is another user; there is nothing in the numbers that an agent said."""


@click.command(short_help="Print numbers for Prometheus.")
@click.argument("names", nargs=-1, metavar="[SESSION…]", shell_complete=complete_session)
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Replace this file instead of printing, as a node exporter's textfile collector reads it (*.prom).",
)
@click.option("--no-events", is_flag=True, help="Leave out what is counted from events: quick on long sessions.")
@pass_settings
def metrics(settings: Settings, names: tuple[str, ...], file: Path | None, *, no_events: bool) -> None:
    """Print numbers of the store and of all sessions, or of SESSIONs, in Prometheus' text format.

    The numbers come from the store alone, so that any host that reaches it can be scraped.
    """
    text = asyncio.run(_metrics(settings.store_url(), names, events=not no_events))
    if file is None:
        print(text, end="")
    else:
        write_whole(file, text, READABLE)


async def _metrics(url: str, names: tuple[str, ...], *, events: bool) -> str:
    async with open_existing(url) as store:
        if store is None:
            return render([])
        for name in names:
            await choose_session(store, name)  # refuses one that is not there
        views = [view for view in await sessions(store) if not names or view.session in names]
        now = datetime.now(UTC)
        if events:
            accounts = [await read_account(store, view.session, now) for view in views]
        else:
            accounts = [Account(view, now) for view in views]
        return render(families(await store.info(), await store.leases(), views, accounts))
