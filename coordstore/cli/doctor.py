"""`coord doctor`: what is wrong with a store and around it, and what to do; changes nothing."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import click

from coordstore.checkup import Finding, Level
from coordstore.checkup.host import refused
from coordstore.cli.context import FILES, Settings, open_existing, pass_settings
from coordstore.cli.surroundings import (
    about_backend,
    about_folders,
    about_git,
    about_installation,
    about_leases,
    about_sessions,
    about_store,
)
from coordstore.cli.text import Style, clean, pad
from coordstore.errors import CoordError
from coordstore.session.catalog import sessions
from coordstore.url import StoreURL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["doctor"]

COLOURS: Final = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}


@click.command(short_help="Look for what is wrong with store or installation.")
@click.argument("url", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@pass_settings
def doctor(settings: Settings, url: str | None, *, as_json: bool) -> int:
    """Look at this installation and at the store URL, by default the repository's own, and what it stands on.

    Every finding is ok, a warning, or a problem with what to do about it. Nothing is changed, but that leases which are
    due end, as whenever somebody looks at a store. The exit status is 1 when there is a problem.
    """
    named = url or settings.store_url()
    findings = asyncio.run(_examine(named, None if url or settings.store else settings.home()))
    if as_json:
        print(json.dumps(_document(named, findings), indent=2))
    else:
        print("\n".join(_lines(findings, Style.of(sys.stdout))))
    return int(any(finding.level is Level.PROBLEM for finding in findings))


async def _examine(url: str, home: Path | None) -> list[Finding]:
    """Return all findings about a store, and about a repository's folders."""
    parsed = StoreURL.parse(url)
    found = await asyncio.to_thread(lambda: [*about_git(), *about_installation()])
    if parsed.scheme in FILES and not await asyncio.to_thread(parsed.path.exists):
        return [*found, _nothing_at(str(parsed.path))]
    found += await asyncio.to_thread(lambda: list(about_backend(parsed)))
    try:
        found += await _inside(url, home)
    except CoordError as error:
        found.append(refused("reachable", error))
    return found


def _nothing_at(place: str) -> Finding:
    advice = "check the path; `coord run PLAN` makes the repository's own"
    return Finding.warning("reachable", f"there is no store at {place}", advice)


async def _inside(url: str, home: Path | None) -> list[Finding]:
    async with open_existing(url) as store:
        if store is None:
            return [_nothing_at(url.partition("?")[0])]
        found = [finding async for finding in about_store(store)]
        found += [finding async for finding in about_leases(store)]
        views = await sessions(store)
    found += about_sessions(views)
    if home is not None:
        found += await asyncio.to_thread(lambda: list(about_folders(home, views)))
    return found


def _lines(findings: Sequence[Finding], style: Style) -> list[str]:
    lines = []
    width = max(len(level) for level in Level)
    for finding in findings:
        mark = style.paint(pad(finding.level, width), COLOURS[finding.level])
        lines.append(f"{mark}  {finding.check}: {clean(finding.text)}")
        if finding.advice:
            lines.append(f"{' ' * width}  {style.paint('->', 'dim')} {clean(finding.advice)}")
    counts = {level: sum(finding.level is level for finding in findings) for level in Level}
    lines.append(f"{counts[Level.PROBLEM]} problems, {counts[Level.WARNING]} warnings, {counts[Level.OK]} ok")
    return lines


def _document(url: str, findings: Sequence[Finding]) -> dict[str, Any]:
    rows = [
        {"check": each.check, "level": str(each.level), "text": each.text, "advice": each.advice or None}
        for each in findings
    ]
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    return {"schema": 1, "url": url, "healthy": not problems, "findings": rows}
