"""Reading the events of all agents of a session from a cursor on, in commit order: never an effect before its cause.

The heads are one consistent cut, and no stream is read beyond them: so whatever was recorded before something
that is returned is returned too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.errors import Trimmed
from coordstore.session.keys import SessionKeys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.model import Record
    from coordstore.store import CoordStore

__all__ = ["read_events"]


async def read_events(
    store: CoordStore, session: str, cursor: Mapping[str, int] | None = None
) -> tuple[list[Record], dict[str, int]]:
    """Return the events recorded since a cursor, over all agents, and the cursor for the next call.

    Args:
        store: Where the session lives.
        session: Its name.
        cursor: What the call before returned (stream name to sequence; plain JSON); None: from the beginning.

    Returns:
        The records in revision order, and the new cursor.

    Raises:
        Trimmed: Records behind the cursor were trimmed by the session's retention, or the cursor lies beyond a
            stream's head: that is another stream of the same name.
    """
    heads = await store.heads(SessionKeys(session).events)
    found: list[Record] = []
    for stream, head in heads.items():
        after = None if cursor is None else cursor.get(stream)
        if after is not None and after > head:
            message = f"stream {stream!r} ends at {head}, before the cursor's {after}: it was begun anew; read from 0"
            raise Trimmed(message, stream=stream, first=1)
        records = await _read(store, stream, after)
        found.extend(record for record in records if record.sequence <= head)
    found.sort(key=lambda record: record.revision)
    return found, {**(cursor or {}), **heads}


async def _read(store: CoordStore, stream: str, after: int | None) -> list[Record]:
    """Read one stream; without a place in it, from the first record that is still there."""
    place = after or 0
    while True:
        try:
            return await store.read(stream, place)
        except Trimmed as trimmed:
            if after is not None:
                raise
            place = trimmed.first - 1
