"""Reading sessions for the commands that only look: which there are, and which one is meant."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from coordstore.errors import CoordError
from coordstore.session.keys import SessionKeys
from coordstore.session.view import SessionView

if TYPE_CHECKING:
    from coordstore.model import Entry
    from coordstore.session.view import Attempt
    from coordstore.store import CoordStore

__all__ = [
    "NoSuchAgent",
    "NoSuchSession",
    "NothingHere",
    "all_sessions",
    "choose_session",
    "find_attempt",
    "one_session",
    "session_names",
    "store_json",
]

EMPTY = "no sessions here yet: `coord run PLAN` starts one"


class NoSuchSession(CoordError, LookupError):
    """The store has no session of that name."""

    exit_code = 2


class NoSuchAgent(CoordError, LookupError):
    """The session has no attempt or task of that name."""

    exit_code = 2


class NothingHere(CoordError, LookupError):
    """There is no session at all, so not the one that a command needs."""


async def all_sessions(store: CoordStore) -> list[SessionView]:
    """Return all sessions, oldest first, as they stood at one cut."""
    cut = await store.list("")
    grouped: dict[str, list[Entry]] = {}
    for entry in cut.entries:
        grouped.setdefault(entry.key.partition("/")[0], []).append(entry)
    views = [SessionView.of(name, entries, cut.revision) for name, entries in grouped.items() if name[0] != "@"]
    return sorted((view for view in views if view.keys.meta in view.entries), key=_created)


def _created(view: SessionView) -> int:
    return view.entries[view.keys.meta].create_revision


async def session_names(store: CoordStore) -> list[str]:
    """Return the names of all sessions, oldest first."""
    cut = await store.list("", keys_only=True)
    made = {
        entry.key.partition("/")[0]: entry.create_revision
        for entry in cut.entries
        if entry.key.endswith("/meta") and entry.key.count("/") == 1
    }
    return sorted(made, key=made.__getitem__)


async def choose_session(store: CoordStore | None, name: str | None) -> str:
    """Return the session that is meant: the one named, the only one, or the newest (which is said on stderr).

    Raises:
        NoSuchSession: The one named is not there; those that are there are named.
        NothingHere: None was named, and there is none.
    """
    names = await session_names(store) if store else []
    if name in names:
        return name
    if name is not None:
        there_are = f"there are {', '.join(names[-10:])}" if names else EMPTY
        message = f"there is no session {name!r}: {there_are}"
        raise NoSuchSession(message)
    if not names:
        raise NothingHere(EMPTY)
    if len(names) > 1:
        print(f"coord: the newest of {len(names)} sessions is taken: {names[-1]}", file=sys.stderr)
    return names[-1]


async def one_session(store: CoordStore, name: str) -> SessionView:
    """Return a session as it stands; one that is not there has no entries."""
    cut = await store.list(SessionKeys(name).session)
    return SessionView.of(name, cut.entries, cut.revision)


def find_attempt(view: SessionView, name: str) -> Attempt:
    """Return an attempt by its name, or the latest one of a task by the task's.

    Raises:
        NoSuchAgent: There is neither; the known ones are named.
    """
    task = view.tasks.get(name)
    found = view.attempt(name) or (task.latest if task else None)
    if found:
        return found
    known = [attempt.agent for each in view.ordered() for attempt in each.attempts]
    if task:
        message = f"task {name} of session {view.session} has not been started yet"
    elif known:
        more = f" and {len(known) - 20} more" if len(known) > 20 else ""  # noqa: PLR2004  (a screen's worth)
        message = f"session {view.session} has no agent {name!r}: there are {', '.join(known[:20])}{more}"
    else:
        message = f"session {view.session} has no agent {name!r}: none was started yet"
    raise NoSuchAgent(message)


async def store_json(store: CoordStore | None) -> dict[str, Any] | None:
    """Return what `--json` says of the store; None where there is none."""
    if store is None:
        return None
    info = await store.info()
    return {
        "id": info.store_id,
        "url": info.url,
        "scheme": info.scheme,
        "revision": info.revision,
        "durability": info.durability,
    }
