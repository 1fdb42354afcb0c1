"""A note on a scratchpad, what a hook makes of old ones, and how the pad is brought back within its bounds."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from coordstore.errors import Conflict
from coordstore.model import Check, Delete, Put

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Sequence

    from coordstore.model import Entry
    from coordstore.store import CoordStore

__all__ = ["Digest", "Note", "oldest", "remove", "summarised"]

log = logging.getLogger(__name__)

OLD: Final = 3600.0
"""Seconds after which a note may be summarised."""
AT_ONCE: Final = 60
"""Notes removed in one transaction, at most."""


@dataclass(frozen=True, slots=True)
class Note:
    """A note.

    Args:
        id: Unique; sorts by time.
        text: What it says.
        at: When it was written, wall time in seconds.
        ttl: Seconds after which it is purged; None: never.
        tags: What it is about.
        persistent: Whether no clean-up removes it.
        revision: The store's revision of it; 0: not stored.
    """

    id: str
    text: str
    at: float
    ttl: float | None = None
    tags: tuple[str, ...] = ()
    persistent: bool = False
    revision: int = 0

    @property
    def size(self) -> int:
        """Return the bytes of its text."""
        return len(self.text.encode())

    def to_json(self) -> bytes:
        """Return it as it is stored."""
        told = asdict(self)
        del told["id"], told["revision"]
        return json.dumps(told).encode()

    @classmethod
    def from_entry(cls, entry: Entry) -> Note:
        """Return what was stored."""
        told = json.loads(entry.value)
        tags = tuple(told.pop("tags"))
        return cls(id=entry.key.rpartition("/")[2], tags=tags, revision=entry.revision, **told)

    def expired(self, now: float) -> bool:
        """Tell whether its time is over."""
        return self.ttl is not None and not self.persistent and now > self.at + self.ttl


@dataclass(frozen=True, slots=True)
class Digest:
    """What a summarise hook makes of old notes.

    Args:
        text: What to keep of them, as one new note; empty: nothing.
        remove: Ids of the notes that go.
    """

    text: str = ""
    remove: Collection[str] = ()


async def remove(store: CoordStore, prefix: str, notes: Sequence[Note], digest: Note | None = None) -> int:
    """Remove notes as they were seen, the first of them together with writing what is kept of all; return how many.

    Stops where somebody else removed one of them meanwhile: what was known of the pad is then out of date.
    """
    gone = 0
    for start in range(0, len(notes), AT_ONCE):
        batch = notes[start : start + AT_ONCE]
        writes: list[Put | Delete] = [Delete(f"{prefix}/{note.id}") for note in batch]
        if digest is not None and not start:
            writes.append(Put(f"{prefix}/{digest.id}", digest.to_json()))
        try:
            await store.transact(writes, [Check(f"{prefix}/{note.id}", revision=note.revision) for note in batch])
        except Conflict:
            break
        gone += len(batch)
    return gone


def oldest(notes: Sequence[Note], least: int) -> list[Note]:
    """Return the oldest notes without which the others are under `least` bytes; the persistent ones stay."""
    size, chosen = sum(note.size for note in notes), []
    for note in notes:
        if size < least:
            break
        if not note.persistent:
            chosen.append(note)
            size -= note.size
    return chosen


async def summarised(
    hook: Callable[[Sequence[Note], int], Awaitable[Digest]], notes: Sequence[Note], least: int, now: float
) -> tuple[list[Note], str]:
    """Ask a hook about the notes that are old; return which go, and what is kept of them.

    A hook that fails, or keeps more than it removes, is as good as none: the pad must not grow because of it.
    """
    old = [note for note in notes if not note.persistent and now - note.at > OLD]
    if not old:
        return [], ""
    try:
        digest = await hook(old, sum(note.size for note in notes) - least)
    except Exception:
        log.exception("summarising %d old notes failed: the oldest go instead", len(old))
        return [], ""
    chosen = [note for note in old if note.id in set(digest.remove)]
    grows = len(digest.text.encode()) >= sum(note.size for note in chosen)
    return ([], "") if grows else (chosen, digest.text)
