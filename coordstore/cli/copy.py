"""`coord copy`: a live store into another one, verified."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import AsyncExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import click

from coordstore.cli.context import notice, open_existing
from coordstore.cli.reading import store_json
from coordstore.cli.text import clean
from coordstore.copying import Copy
from coordstore.errors import Unavailable
from coordstore.plugins import open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from coordstore.copying import CopyReport
    from coordstore.store import CoordStore

__all__ = ["copy"]

SHOWN = 10
"""Keys named in the summary."""


@click.command(short_help="Copy a live store into another one, and verify it.")
@click.argument("source")
@click.argument("destination")
@click.option("--resume", is_flag=True, help="Go on with an earlier copy of SOURCE in DESTINATION.")
@click.option("--follow", "-f", is_flag=True, help="Go on copying what changes, until interrupted.")
@click.option("--with-leased", is_flag=True, help="Copy keys on leases too, as plain keys.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def copy(source: str, destination: str, *, resume: bool, follow: bool, with_leased: bool, as_json: bool) -> None:
    """Copy the store SOURCE into the store DESTINATION, both given as URLs, of whatever backends.

    SOURCE is only read, and may be in use. The copy holds all keys with their values and all streams with their
    sequences, as they stood at one revision, which is printed; both stores are compared at that revision before the
    command ends. Keys on leases belong to living processes: they are left out, and named. DESTINATION must be empty;
    a copy that was cut off goes on with --resume.
    """
    options = {"resume": resume, "with_leased": with_leased}
    try:
        asyncio.run(_copy(source, destination, options, follow=follow, as_json=as_json))
    except KeyboardInterrupt:
        notice("stopped; the same command with --resume goes on")
        raise


async def _copy(
    source_url: str, destination_url: str, options: dict[str, bool], *, follow: bool, as_json: bool
) -> None:
    async with AsyncExitStack() as stack:
        source = await stack.enter_async_context(open_existing(source_url))
        if source is None:
            message = f"there is no store at {source_url}: name the one to copy from"
            raise Unavailable(message)
        target = await stack.enter_async_context(open_store(destination_url))
        with _progress() as progress:
            copying = await stack.enter_async_context(Copy(source, target, progress=progress, **options))
            report = await copying.catch_up()
        if as_json:
            print(json.dumps(await _document(source, target, report), indent=2), flush=True)
        else:
            print("\n".join(_summary(report)), flush=True)
        if follow:
            notice("following; Ctrl-C ends it")
            await copying.follow()


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """Show a bar on a terminal; nothing elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    with click.progressbar(length=1, label="copying", file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.length = max(total, 1)
            bar.update(done - bar.pos)

        yield show


def _summary(report: CopyReport) -> list[str]:
    """Return what a person is told."""
    held = f"{_count(report.keys, 'key')}, {_count(report.streams, 'stream')} with {_count(report.records, 'record')}"
    lines = [
        f"{clean(report.target.url)} holds what {clean(report.source.url)} held at revision {report.revision}:",
        f"{held} ({report.copied} written now)",
        f"verified: every key, stream and record is equal (digest {report.digest[:16]})",
    ]
    if report.leased:
        fate = "copied as plain keys, which stay" if report.with_leased else "left out, they belong to living processes"
        more = f" and {len(report.leased) - SHOWN} more" if len(report.leased) > SHOWN else ""
        lines.append(f"{_count(len(report.leased), 'key')} on leases {fate}: {', '.join(report.leased[:SHOWN])}{more}")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


async def _document(source: CoordStore, target: CoordStore, report: CopyReport) -> dict[str, Any]:
    return {
        "schema": 1,
        "source": await store_json(source),
        "destination": await store_json(target),
        "revision": report.revision,
        "keys": report.keys,
        "streams": report.streams,
        "records": report.records,
        "digest": report.digest,
        "copied": report.copied,
        "resumed": report.resumed,
        "verified": True,
        "leased": {"copied": report.with_leased, "keys": list(report.leased)},
    }
