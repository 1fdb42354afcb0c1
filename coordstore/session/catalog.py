"""Which sessions a store holds, which may hold other things too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.session.keys import is_session
from coordstore.session.view import SessionView

if TYPE_CHECKING:
    from coordstore.model import Entry
    from coordstore.store import CoordStore

__all__ = ["session_names", "sessions"]

PAGE: Final = 256
"""Keys that are read at once while only names are wanted."""
LONGEST: Final = 64
"""Characters of a segment, at most."""


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
    """Return the names of all sessions, oldest first; each was there at some moment of the call."""
    found: list[Entry] = []
    after: str | None = None
    while True:
        page = await store.list("", limit=PAGE, after=after, keys_only=True)
        found += page.entries
        if not page.more:
            return _names(found)
        # Of a session that fills the page only one more key counts, and it may have ten thousand.
        after = page.entries[-1].key
        name, below, _ = after.partition("/")
        if below and (meta := await store.get(f"{name}/meta")):
            found.append(meta)
        if below and len(name) < LONGEST:
            after = f"{name}0"  # behind everything below the name, as 0 follows the slash


def _names(entries: list[Entry]) -> list[str]:
    made = {
        entry.key.removesuffix("/meta"): entry.create_revision
        for entry in entries
        if entry.key.endswith("/meta") and entry.key.count("/") == 1 and is_session(entry.key.removesuffix("/meta"))
    }
    return sorted(made, key=made.__getitem__)
