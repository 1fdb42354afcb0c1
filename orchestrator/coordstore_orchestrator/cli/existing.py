"""What commands that act on a session begin with: the session, or a sentence that says that there is none."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from coordstore.cli.context import open_existing
from coordstore.errors import InvalidArgument
from coordstore.session.session import Session

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from coordstore.cli.context import Settings
    from coordstore.session import SessionView

__all__ = ["known_tasks", "open_session"]


@asynccontextmanager
async def open_session(settings: Settings, name: str) -> AsyncIterator[tuple[Session, SessionView]]:
    """Open a session that exists, with what it looks like now.

    Raises:
        InvalidArgument: There is none of that name.
    """
    async with open_existing(settings.store_url()) as store:
        if store is None:
            message = f"there is no session {name!r}: no session was ever started here"
            raise InvalidArgument(message)
        session = Session(store, name)
        view = await session.view()
        if not view.tasks:
            message = f"there is no session {name!r}: `coord inspect` lists them"
            raise InvalidArgument(message)
        yield session, view


def known_tasks(view: SessionView, wanted: Iterable[str]) -> None:
    """Refuse tasks that a session does not have.

    Raises:
        InvalidArgument: The message names those it has.
    """
    unknown = sorted(set(wanted) - set(view.tasks))
    if unknown:
        message = f"session {view.session} has no task {', '.join(unknown)}: it has {', '.join(view.tasks)}"
        raise InvalidArgument(message)
