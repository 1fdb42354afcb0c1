"""`coord gc`: removes what finished sessions keep on this machine, never work that did not land unless told."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from coordstore.cli.context import Settings, open_existing, pass_settings
from coordstore.errors import InvalidArgument
from coordstore.home import home_dir, session_dir
from coordstore.session import SessionView
from coordstore.session.session import Session
from coordstore_orchestrator.git.collect import holdings, remove
from coordstore_orchestrator.git.user import UserRepository

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.store import CoordStore
    from coordstore_orchestrator.git.collect import Holdings

__all__ = ["gc"]

MEGABYTE = 1_000_000


@click.command()
@click.argument("sessions", nargs=-1, metavar="[SESSION…]")
@click.option("--repo", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The repository [.].")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@click.option("--records", is_flag=True, help="Remove the sessions' records from the store as well.")
@click.option("--force", is_flag=True, help="Also drop work that did not land, of the SESSIONs named.")
@pass_settings
def gc(settings: Settings, sessions: Sequence[str], repo: Path, *, dry_run: bool, records: bool, force: bool) -> int:
    """Remove worktrees, branches, repositories and logs of SESSIONs, or of all that are finished.

    The landed result stays. Exit status 1: something was kept because it would have been lost.
    """
    if force and not sessions:
        message = "--force needs the names of the sessions whose work is to be dropped"
        raise click.UsageError(message)
    return asyncio.run(_gc(settings, sessions, repo, dry_run=dry_run, records=records, force=force))


async def _gc(
    settings: Settings, wanted: Sequence[str], repo: Path, *, dry_run: bool, records: bool, force: bool
) -> int:
    user, home = await UserRepository.discover(repo), home_dir(repo)
    names = list(wanted) or await asyncio.to_thread(_names, home)
    kept = 0
    async with open_existing(settings.store_url(repo)) as store:
        for name in names:
            view = await Session(store, name).view() if store else SessionView(name)
            folder = session_dir(home, name)
            if not await asyncio.to_thread(folder.is_dir) and not view.tasks:
                message = f"there is no session {name!r} here: `coord inspect` lists them"
                raise InvalidArgument(message)
            found = await holdings(view, folder)
            reasons = _against(found, force=force)
            kept += bool(reasons)
            if not reasons and not dry_run:
                await _drop(found, user, store if records else None)
            print(_line(found, reasons, dry_run=dry_run))
    return int(kept > 0)


def _names(home: Path) -> list[str]:
    folder = home / "sessions"
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _against(found: Holdings, *, force: bool) -> list[str]:
    if found.led:
        return ["an orchestrator leads it"]
    return [] if force else list(found.reasons)


async def _drop(found: Holdings, user: UserRepository, store: CoordStore | None) -> None:
    if await asyncio.to_thread(found.folder.is_dir):
        await remove(found, user)
    if store is not None:
        await Session(store, found.session).delete()


def _line(found: Holdings, reasons: Sequence[str], *, dry_run: bool) -> str:
    if reasons:
        return "\n".join([f"{found.session}: kept", *(f"  {reason}" for reason in reasons)])
    verb = "would be removed" if dry_run else "removed"
    return f"{found.session}: {verb}, {found.size / MEGABYTE:.1f} MB"
