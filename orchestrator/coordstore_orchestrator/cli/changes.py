"""`coord changes`: shows work that waits for a review, and takes decisions on it."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from coordstore.cli.context import Settings, open_existing, pass_settings
from coordstore.cli.text import clean
from coordstore.errors import InvalidArgument
from coordstore.home import home_dir
from coordstore.session.changes import ChangeState, change_in, changes_in, decide_change
from coordstore.session.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from coordstore.session import SessionView
    from coordstore.session.changes import Change
    from coordstore.store import CoordStore

__all__ = ["changes"]

COMMENT = "Why; an agent that gets its work back reads it."
with_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
with_repo = click.option(
    "--repo", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="The repository [.]."
)


@click.group()
def changes() -> None:
    """Look at work that waits for a review (`coord run --review`), and decide on it."""


@changes.command("list")
@click.argument("session")
@with_json
@with_repo
@pass_settings
def list_(settings: Settings, session: str, repo: Path, *, as_json: bool) -> int:
    """List the changes of SESSION, in the order in which their work was completed."""

    async def listed(found: Session) -> int:
        rows = [_row(change) for change in changes_in(await found.view())]
        if as_json:
            print(json.dumps({"schema": 1, "session": session, "changes": rows}))
            return 0
        for row in rows:
            print(clean("  ".join(str(row[name]) for name in ("id", "state", "title", "url", "by") if row[name])))
        print(f"{sum(row['state'] == ChangeState.OPEN for row in rows)} of {len(rows)} wait for a decision")
        return 0

    return asyncio.run(_with_session(settings, session, repo, listed))


@changes.command()
@click.argument("session")
@click.argument("change")
@with_json
@with_repo
@pass_settings
def show(settings: Settings, session: str, change: str, repo: Path, *, as_json: bool) -> int:
    """Show CHANGE of SESSION: what it is, who decided what and why, and its diff."""

    async def shown(found: Session) -> int:
        one = _one(await found.view(), change)
        if as_json:
            print(json.dumps({"schema": 1, "session": session, "change": {**one.record, **_row(one)}}))
            return 0
        for name, value in _row(one).items():
            print(clean(f"{name + ':':10}{value or '-'}"))
        for line in one.record.get("history") or ():
            print(clean(f"{line.get('at')}  {line.get('state')}  by {line.get('by')}  {line.get('comment')}".rstrip()))
        print(await _diff(one, home_dir(repo), session), end="")
        return 0

    return asyncio.run(_with_session(settings, session, repo, shown))


@changes.command()
@click.argument("session")
@click.argument("change")
@click.option("-m", "--message", default="", help=COMMENT)
@with_repo
@pass_settings
def approve(settings: Settings, session: str, change: str, message: str, repo: Path) -> int:
    """Approve CHANGE of SESSION: it is merged in its turn."""
    return asyncio.run(_decide(settings, repo, session, change, ChangeState.APPROVED, message))


@changes.command()
@click.argument("session")
@click.argument("change")
@click.option("-m", "--message", required=True, help=COMMENT)
@with_repo
@pass_settings
def request(settings: Settings, session: str, change: str, message: str, repo: Path) -> int:
    """Request changes to CHANGE of SESSION: its task goes back to its agent, with the message."""
    return asyncio.run(_decide(settings, repo, session, change, ChangeState.CHANGES_REQUESTED, message))


@changes.command()
@click.argument("session")
@click.argument("change")
@click.option("-m", "--message", default="", help="Why.")
@with_repo
@pass_settings
def reject(settings: Settings, session: str, change: str, message: str, repo: Path) -> int:
    """Reject CHANGE of SESSION: its task is left out. Its work stays on its branch."""
    return asyncio.run(_decide(settings, repo, session, change, ChangeState.REJECTED, message))


@changes.command()
@click.argument("session")
@click.argument("change", required=False)
@with_repo
@pass_settings
def merge(settings: Settings, session: str, change: str | None, repo: Path) -> int:
    """Merge the approved changes of SESSION without starting agents; CHANGE is approved first.

    Where `coord run` leads the session, that merges them: then this only approves.
    """

    async def merged(found: Session) -> int:
        view = await found.view()
        if change is not None and _one(view, change).state is ChangeState.OPEN:
            await decide_change(found, change, ChangeState.APPROVED, _me())
        if view.leader:
            print(f"session {session} is led by a running `coord run`, which merges what is approved")
            return 0
        after = await _drained(found, repo)
        for one in changes_in(after):
            print(clean(f"{one.agent}: {one.state}"))
        left = [one.agent for one in changes_in(after) if one.state is ChangeState.APPROVED]
        return int(bool(left))

    return asyncio.run(_with_session(settings, session, repo, merged))


async def _drained(session: Session, repo: Path) -> SessionView:
    """Lead the session for as long as there is something to merge, and land it when all is settled."""
    from coordstore_orchestrator.agents.config import load_configuration
    from coordstore_orchestrator.git.user import UserRepository
    from coordstore_orchestrator.options import RunOptions
    from coordstore_orchestrator.run import Run

    user, view = await UserRepository.discover(repo), await session.view()
    config = await asyncio.to_thread(load_configuration, user.top_level)
    options = RunOptions(home=home_dir(repo), slots=1, agent=None, profiles=config.profiles, environ=os.environ)
    tasks = {task.id: task.spec for task in view.tasks.values()}
    run = Run(session.store, user, session.name, view.meta, tasks, options)
    run.interrupt()
    return await run.run()


async def _decide(settings: Settings, repo: Path, session: str, change: str, state: ChangeState, message: str) -> int:
    async def decided(found: Session) -> int:
        _one(await found.view(), change)
        await decide_change(found, change, state, _me(), message)
        print(f"{change} is {state}")
        return 0

    return await _with_session(settings, session, repo, decided)


async def _with_session(settings: Settings, name: str, repo: Path, act: Callable[[Session], Any]) -> int:
    async with _opened(settings, repo) as store:
        if store is None:
            message = f"there is no session {name!r}: no session was ever started here"
            raise InvalidArgument(message)
        session = Session(store, name)
        if not (await session.view()).tasks:
            message = f"there is no session {name!r} here: `coord inspect` lists them"
            raise InvalidArgument(message)
        status: int = await act(session)
        return status


@contextlib.asynccontextmanager
async def _opened(settings: Settings, repo: Path) -> AsyncIterator[CoordStore | None]:
    async with open_existing(settings.store_url(repo)) as store:
        yield store


def _one(view: SessionView, agent: str) -> Change:
    found = change_in(view, agent)
    if found is None:
        names = ", ".join(change.agent for change in changes_in(view)) or "none"
        message = f"session {view.session} has no change {agent!r}; it has {names}"
        raise InvalidArgument(message)
    return found


def _row(change: Change) -> dict[str, str | None]:
    told = {
        name: change.text(name) for name in ("task", "title", "reviewer", "forge", "url", "by", "comment", "commit")
    }
    return {"id": change.agent, "state": str(change.state), **told}


async def _diff(change: Change, home: Path, session: str) -> str:
    from coordstore.home import session_dir
    from coordstore_orchestrator.git.names import is_oid
    from coordstore_orchestrator.git.run import git, text_of

    base, commit = change.text("base") or "", change.text("commit") or ""
    source = session_dir(home, session) / "integration.git"
    if not (is_oid(base) and is_oid(commit) and await asyncio.to_thread(source.is_dir)):
        return ""
    result = await git(["diff-tree", "-p", "--no-ext-diff", "--no-textconv", base, commit], git_dir=source, check=False)
    return clean(text_of(result.stdout), keep="\n\t")


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
