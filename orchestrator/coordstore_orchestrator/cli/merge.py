"""`coord merge`: brings a session's result into a branch that nobody has checked out."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from coordstore.cli.completion import complete_session
from coordstore.cli.context import Settings, open_existing, pass_settings
from coordstore.errors import InvalidArgument
from coordstore.home import home_dir
from coordstore.session import SessionView, events
from coordstore.session.session import Session
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.merge.onto import merge_into

__all__ = ["merge"]


@click.command()
@click.argument("session", shell_complete=complete_session)
@click.option("--into", metavar="BRANCH", required=True, help="The branch; nobody may have it checked out.")
@click.option("--repo", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The repository [.].")
@pass_settings
def merge(settings: Settings, session: str, into: str, repo: Path) -> int:
    """Merge the landed result of SESSION into BRANCH, without a checkout; when it moves meanwhile, merge again."""
    return asyncio.run(_merge(settings, session, into, repo))


async def _merge(settings: Settings, name: str, branch: str, repo: Path) -> int:
    user = await UserRepository.discover(repo)
    async with open_existing(settings.store_url(repo)) as store:
        if store is None:
            message = f"there is no session {name!r}: no session was ever started here"
            raise InvalidArgument(message)
        session = Session(store, name)
        commit = _landed(await session.view())
        tip = await merge_into(user, home_dir(repo), branch, commit, f"Merge coord/{name}")
        told = session.event(None, events.Note(text=f"{commit} was merged into {branch}: {tip}"))
        await store.transact((), (), [told])
    print(f"{branch} is at {tip[:12]} and has the result of {name}")
    return 0


def _landed(view: SessionView) -> str:
    commit = view.result.get("commit")
    if not isinstance(commit, str):
        message = f"session {view.session!r} has no result to merge: `coord inspect` shows where it stands"
        raise InvalidArgument(message)
    return commit
