"""Reading the events of all agents of a session from a cursor on, in commit order: never an effect before its cause.

The heads are one consistent cut, and no stream is read beyond them: so whatever was recorded before something
that is returned is returned too.
"""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from coordstore.errors import Trimmed
from coordstore.session.keys import SessionKeys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from coordstore.model import Record
    from coordstore.store import CoordStore

__all__ = ["read_events", "take_events"]

PATIENCE: Final = 0.5
"""Seconds without a record until it is asked whether what is awaited is still there; doubled each time."""


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
    found: list[Record] = []
    heads = await take_events(store, SessionKeys(session).events, found.append, cursor)
    return found, {**(cursor or {}), **heads}


async def take_events(
    store: CoordStore, prefix: str, take: Callable[[Record], object], cursor: Mapping[str, int] | None = None
) -> dict[str, int]:
    """Hand over the records under a prefix, in commit order, up to the heads at the time of the call, in one pass.

    Args:
        store: The store.
        prefix: The streams' prefix, or one stream's name.
        take: What is called with each record.
        cursor: Behind which sequence of each stream; None: from what is still there.

    Returns:
        Those heads.

    Raises:
        Trimmed: As `read_events`.
    """
    heads = await store.heads(prefix)
    reached = {stream: at for stream, at in (cursor or {}).items() if stream in heads}
    for stream, at in reached.items():
        if at > heads[stream]:
            message = (
                f"stream {stream!r} ends at {heads[stream]}, before the cursor's {at}: it was begun anew; read from 0"
            )
            raise Trimmed(message, stream=stream, first=1)
    patience = PATIENCE
    while wanted := {stream for stream, head in heads.items() if reached.get(stream, 0) < head}:
        before, limit = dict(reached), asyncio.timeout(patience)
        try:
            async with limit:
                await _take(store, prefix, take, heads, reached, wanted)
        except Trimmed as trimmed:
            if cursor is not None and trimmed.stream in cursor:
                raise
            reached[trimmed.stream] = trimmed.first - 1
        except TimeoutError:
            if not limit.expired():
                raise
            if reached == before:
                patience *= 2
                reached |= {stream: heads[stream] for stream in wanted if await _is_gone(store, stream, reached)}
    return heads


async def _is_gone(store: CoordStore, stream: str, reached: Mapping[str, int]) -> bool:
    """Tell whether no record of a stream is left to come: it was dropped, or trimmed to its end."""
    place = reached.get(stream, 0)
    try:
        return not await store.read(stream, place, 1)
    except Trimmed as trimmed:
        return not await store.read(stream, trimmed.first - 1, 1)


async def _take(
    store: CoordStore,
    prefix: str,
    take: Callable[[Record], object],
    heads: Mapping[str, int],
    reached: dict[str, int],
    wanted: set[str],
) -> None:
    """Follow until nothing is wanted any more; a stream that was dropped or trimmed to its end never gets there."""
    async with aclosing(store.follow(prefix, reached)) as records:
        async for record in records:
            stream, sequence = record.stream, record.sequence
            if stream not in wanted:
                continue
            take(record)
            reached[stream] = sequence
            if sequence >= heads[stream]:
                wanted.discard(stream)
                if not wanted:
                    return
