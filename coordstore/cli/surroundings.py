"""What `coord doctor` looks at that is the same for every backend: git, leases, sessions, folders left behind."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import shlex
import subprocess
from typing import TYPE_CHECKING, Final

from coordstore.checkup import Finding
from coordstore.checkup.host import refused
from coordstore.checkup.processes import is_dead
from coordstore.cli.advice import concerns, next_commands
from coordstore.errors import CoordError
from coordstore.home import state_dir
from coordstore.plugins import backends, checkups, examinations, load
from coordstore.session.states import FINAL
from coordstore.session.values import as_object

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence
    from pathlib import Path

    from coordstore.model import LeaseInfo
    from coordstore.session.view import SessionView
    from coordstore.store import CoordStore
    from coordstore.url import StoreURL

__all__ = [
    "about_backend",
    "about_folders",
    "about_git",
    "about_installation",
    "about_leases",
    "about_sessions",
    "about_store",
]

GIT: Final = (2, 38)
"""The first git that can merge without a checkout (`merge-tree --write-tree`)."""
FILES_WANTED: Final = 512
"""Open files that a run of some dozen agents may need."""
_VERSION: Final = re.compile(r"(\d+)\.(\d+)")


def about_git() -> Iterator[Finding]:
    """Look for git; blocks."""
    wanted = f"install git {GIT[0]}.{GIT[1]} or newer: coord run needs it"
    try:
        said = subprocess.run(["git", "--version"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError) as error:
        yield Finding.problem("git", f"git does not start ({error})", wanted)
        return
    found = _VERSION.search(said)
    if found is None or (int(found[1]), int(found[2])) < GIT:
        yield Finding.problem("git", f"{said} is too old", wanted)
    else:
        yield Finding.ok("git", said)


def about_installation() -> Iterator[Finding]:
    """Look at where state is kept, at the limits of this process, and at what plugins look at; blocks."""
    yield _state_folder()
    yield _open_files()
    for found in examinations().values():
        try:
            yield from load(found.target)()
        except CoordError as error:
            yield refused(found.name, error)


def _state_folder() -> Finding:
    folder = state_dir()
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        return Finding.problem("state folder", f"{there} cannot be written", "set COORD_HOME to a folder of yours")
    if folder.exists() and folder.stat().st_mode & 0o022:
        advice = f"chmod go-w {shlex.quote(str(folder))}"
        return Finding.warning("state folder", f"other users may write into {folder}", advice)
    return Finding.ok("state folder", f"{folder} is this user's, or can be made")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    text = f"{soft} files may be open at a time"
    if 0 <= soft < FILES_WANTED:
        return Finding.warning("limits", text, f"ulimit -n {min(hard, 4096) if hard > 0 else 4096}: agents need more")
    return Finding.ok("limits", text)


def about_backend(url: StoreURL) -> Iterator[Finding]:
    """Look at a store the way its backend offers, without opening it; blocks."""
    known = checkups().get(url.scheme)
    if known is None:
        of = "has no check-up of its own" if url.scheme in backends() else "is no backend that is installed"
        advice = "" if url.scheme in backends() else "see `coord backends`"
        yield (Finding.problem if advice else Finding.warning)(
            "backend", f"{url.scheme}: {of}", advice or "ask its author"
        )
        return
    try:
        yield from load(known.target)(url)
    except CoordError as error:
        yield refused("backend", error)
    except OSError as error:
        yield Finding.problem("backend", f"{error}", "look at the path and who owns it")


async def about_store(store: CoordStore) -> AsyncIterator[Finding]:
    """Look at what a store that opened says of itself."""
    info = await store.info()
    yield Finding.ok("reachable", f"{info.url} is open: revision {info.revision}, floor {info.floor}")
    survives = {"full": "power loss", "process": "the death of processes, not power loss"}.get(
        info.durability, "nothing"
    )
    yield Finding.ok("durability", f"{info.durability}: what was acknowledged survives {survives}")


async def about_leases(store: CoordStore) -> AsyncIterator[Finding]:
    """Look for leases that should have ended, and for keys that hang on the lease of a dead process."""
    leases = await store.leases()
    odd = 0
    for lease in leases:
        if lease.remaining <= 0:
            odd += 1
            text = f"lease {lease.id} was due {-lease.remaining:.0f} s ago and is still there"
            yield Finding.problem("leases", text, "nobody could end it: see what holds the store's lock")
        async for finding in _about_holders(store, lease):
            odd += 1
            yield finding
    if not odd:
        keys = sum(len(lease.keys) for lease in leases)
        yield Finding.ok("leases", f"{len(leases)} leases with {keys} keys, none of them of a process known to be dead")


async def _about_holders(store: CoordStore, lease: LeaseInfo) -> AsyncIterator[Finding]:
    for key in lease.keys:
        record = as_object(await store.get(key))
        if await asyncio.to_thread(is_dead, record):
            text = f"{key} is held by process {record.get('pid')} on {record.get('host')}, which is gone"
            advice = f"wait: it ends by itself in {max(lease.remaining, 0):.0f} s, unless something else renews it"
            yield Finding.warning("leases", text, advice)


def about_sessions(views: Sequence[SessionView]) -> Iterator[Finding]:
    """Look for what does not go on by itself."""
    for view in views:
        stuck = concerns(view)
        for concern in stuck:
            where = f"session {view.session}" + (f", task {concern.task}" if concern.task else "")
            command = next_commands(view)[-1:] or [f"coord inspect {view.session}"]
            yield Finding.warning("sessions", f"{where}: {concern.text}", command[0])
    if not any(concerns(view) for view in views):
        yield Finding.ok("sessions", f"{len(views)} sessions, none of them stuck")


def about_folders(home: Path, views: Sequence[SessionView]) -> Iterator[Finding]:
    """Look for worktrees that nobody works in any more; blocks."""
    known = {view.session: view for view in views}
    left = [
        (session, agent)
        for session in _entries(home / "sessions")
        for agent in _entries(home / "sessions" / session / "worktrees")
        if _is_left(known.get(session), agent)
    ]
    for session, agent in left:
        folder = home / "sessions" / session / "worktrees" / agent
        why = "its session is not in this store" if session not in known else "nobody works in it"
        advice = f"resume the session, which removes it, or: rm -r {shlex.quote(str(folder))}"
        yield Finding.warning("worktrees", f"{folder} was left behind: {why}", advice)
    if not left:
        yield Finding.ok("worktrees", f"none left behind in {home}")


def _is_left(view: SessionView | None, agent: str) -> bool:
    """Tell whether an attempt has ended, or lost its worker, with nobody there who will clean up."""
    if view is None:
        return True
    if view.leader:
        return False
    attempt = view.attempt(agent)
    return attempt is None or attempt.lost or attempt.state in FINAL


def _entries(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return []
