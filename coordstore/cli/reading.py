"""Reading sessions for the commands that only look: which there are, and which one is meant."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar

from coordstore.cli.context import notice
from coordstore.errors import CoordError
from coordstore.session.catalog import session_names
from coordstore.session.keys import SessionKeys
from coordstore.session.view import SessionView

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from coordstore.session.task import Attempt
    from coordstore.store import CoordStore

__all__ = [
    "NoSuchAgent",
    "NoSuchSession",
    "NothingHere",
    "choose_session",
    "find_attempt",
    "one_session",
    "store_json",
    "watch_view",
]

EMPTY = "no sessions here yet: `coord run PLAN` starts one"


class NoSuchSession(CoordError, LookupError):
    """The store has no session of that name."""

    hint: ClassVar[str] = "`coord inspect` lists the sessions; perhaps it lies in another store (--store, COORD_STORE)."

    exit_code = 2


class NoSuchAgent(CoordError, LookupError):
    """The session has no attempt or task of that name."""

    hint: ClassVar[str] = "`coord inspect SESSION` lists tasks; an agent is an attempt, as t1.1."

    exit_code = 2


class NothingHere(CoordError, LookupError):
    """There is no session at all, so not the one that a command needs."""

    hint: ClassVar[str] = "`coord run PLAN` starts a session; perhaps another store is meant (--store, COORD_STORE)."


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
        notice(f"the newest of {len(names)} sessions is taken: {names[-1]}")
    return names[-1]


async def one_session(store: CoordStore, name: str) -> SessionView:
    """Return a session as it stands; one that is not there has no entries."""
    cut = await store.list(SessionKeys(name).session)
    return SessionView.of(name, cut.entries, cut.revision)


async def watch_view(store: CoordStore, name: str) -> AsyncGenerator[SessionView]:
    """Yield a session (always the same object) now and after every change; the last time when it ended or was deleted.

    Close it with `aclosing`; cancelling leaves nothing behind.
    """
    view = SessionView(name)
    async with aclosing(store.watch(name)) as batches:
        async for batch in batches:
            view.apply(batch)
            if batch.complete:
                yield view
                if view.result.get("final") or not view.meta:
                    return


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
