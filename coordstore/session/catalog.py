"""Which sessions a store holds, which may hold other things too."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.session.keys import is_session
from coordstore.session.view import SessionView

if TYPE_CHECKING:
    from coordstore.model import Entry
    from coordstore.store import CoordStore

__all__ = ["session_names", "sessions"]


async def sessions(store: CoordStore) -> list[SessionView]:
    """Return all sessions, oldest first, as they stood at one cut."""
    cut = await store.list("")
    grouped: dict[str, list[Entry]] = {name: [] for name in _names(cut.entries)}
    for entry in cut.entries:
        name = entry.key.partition("/")[0]
        if name in grouped:
            grouped[name].append(entry)
    return [SessionView.of(name, entries, cut.revision) for name, entries in grouped.items()]


async def session_names(store: CoordStore) -> list[str]:
    """Return the names of all sessions, oldest first."""
    return _names((await store.list("", keys_only=True)).entries)


def _names(entries: list[Entry]) -> list[str]:
    made = {
        entry.key.removesuffix("/meta"): entry.create_revision
        for entry in entries
        if entry.key.endswith("/meta") and entry.key.count("/") == 1 and is_session(entry.key.removesuffix("/meta"))
    }
    return sorted(made, key=made.__getitem__)
