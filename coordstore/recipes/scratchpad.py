"""A scratchpad: notes that everybody of a session reads and writes, kept within bounds.

A note is the key ``<session>/pad/<id>``; ids sort by time. A pad that grows over `most` bytes is tidied
until it is under `least`: what has expired goes, then a hook (a model's by preference) may put many old notes into a
few words, then the oldest go. Persistent notes stay, so they are refused when they alone would fill the pad.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Final

from coordstore.errors import Conflict, TooLarge
from coordstore.recipes.base import Recipe
from coordstore.recipes.note import Digest, Note, oldest, remove, summarised
from coordstore.recipes.waiting import Ids, wall_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from coordstore.store import CoordStore, Fence

__all__ = ["Digest", "Note", "Scratchpad"]

STEPS: Final = 10
"""Steps after which the pad is looked after."""


class Scratchpad(Recipe):
    """The pad of a session, for any number of writers.

    Args:
        store: Where the session lives.
        session: Its name.
        most: Bytes of text over which it is tidied.
        least: Bytes under which it is then.
        summarise: Is given the notes over an hour old (the persistent ones not) and the bytes that are too many, and
            says which of them go and what is kept of them. Without it, or when it fails or says too little, the
            oldest go.
        wall: Tells wall time in seconds.
    """

    kind: ClassVar[str] = "pad"

    def __init__(
        self,
        store: CoordStore,
        session: str,
        *,
        most: int = 100_000,
        least: int = 50_000,
        summarise: Callable[[Sequence[Note], int], Awaitable[Digest]] | None = None,
        wall: Callable[[], float] = wall_time,
    ) -> None:
        super().__init__(store, session, f"{session}/pad")
        self._most, self._least, self._summarise, self._wall = most, least, summarise, wall
        self._tidied = f"{session}/tidied/pad"
        self._ids = Ids()
        self._steps = 0

    async def append(
        self,
        text: str,
        *,
        tags: Iterable[str] = (),
        ttl: float | None = None,
        persistent: bool = False,
        fence: Fence | None = None,
    ) -> Note:
        """Add a note, and tidy up when there are too many.

        Raises:
            TooLarge: It alone, or with the other persistent ones, is over half of what a tidy pad holds.
            Fenced: The fence did not hold.
        """
        note = Note(self._new_id(), text, self._wall(), ttl, tuple(tags), persistent)
        notes = await self.notes()
        kept = note.size + sum(other.size for other in notes if persistent and other.persistent)
        if kept > self._least // 2:
            message = f"a note of {note.size} bytes makes {kept} that stay, {self._least // 2} are allowed: shorten it"
            raise TooLarge(message)
        revision = await self.store.put(f"{self.prefix}/{note.id}", note.to_json(), fence=fence)
        self._counters["appended"] += 1
        if note.size + sum(other.size for other in notes) > self._most:
            await self.tidy()
        return replace(note, revision=revision)

    async def remove(self, note_id: str) -> bool:
        """Remove a note, a persistent one too; tell whether it was there."""
        return await self.store.delete(f"{self.prefix}/{note_id}")

    async def notes(self, tag: str = "", older_than: float = 0.0) -> list[Note]:
        """Return the notes, oldest first, without the expired ones.

        Args:
            tag: Only those with this tag.
            older_than: Only those written at least so many seconds ago.
        """
        now = self._wall()
        found = [note for note in await self._all() if not note.expired(now)]
        return [note for note in found if (not tag or tag in note.tags) and note.at <= now - older_than]

    async def size(self) -> int:
        """Return the bytes of all texts, of expired ones that are still there too."""
        return _size(await self._all())

    async def step(self) -> None:
        """Say that a step was made: after each ten the expired notes go, and the pad is tidied when it is too large."""
        self._steps += 1
        if self._steps % STEPS == 0:
            await self.purge()
            if await self.size() > self._most:
                await self.tidy()

    async def purge(self) -> int:
        """Remove the expired notes; return how many."""
        now = self._wall()
        return await remove(self.store, self.prefix, [note for note in await self._all() if note.expired(now)])

    async def import_text(self, text: str, *, tags: Iterable[str] = ("legacy",), cut: bool = False) -> Note:
        """Take a pad that was a plain text over as one persistent note.

        Args:
            text: All of it.
            tags: Those of the note.
            cut: Whether one that is too large is cut to its end; the note begins by saying so.

        Raises:
            TooLarge: It is too large to stay, and `cut` is not set.
        """
        data = text.encode()
        room = self._least // 2 - 100
        if cut and len(data) > room:
            text = f"[{len(data) - room} bytes before this were cut]\n{data[-room:].decode(errors='ignore')}"
        return await self.append(text, tags=tags, persistent=True)

    async def tidy(self) -> int:
        """Bring the pad under `least` bytes; return how many notes went. Several at once remove no more than one."""
        gone = await self.purge()
        notes = await self._all()
        if self._summarise is not None and _size(notes) >= self._least:
            now = self._wall()
            chosen, text = await summarised(self._summarise, notes, self._least, now)
            kept = Note(self._new_id(), text, now, tags=("summary",)) if text else None
            gone += await remove(self.store, self.prefix, chosen, kept)
            notes = await self._all()
        while chosen := oldest(notes, self._least):
            gone += await remove(self.store, self.prefix, chosen)
            notes = await self._all()
        self._counters["tidied"] += 1
        await self._count()
        return gone

    async def _count(self) -> None:
        """Count the clean-up in the store, for metrics; when two count at once, one of them is enough."""
        found = await self.store.get(self._tidied)
        times = int(found.value[:18]) if found and found.value[:18].isdigit() else 0
        with suppress(Conflict):
            await self.store.put(self._tidied, str(times + 1).encode(), expect=found.revision if found else 0)

    async def _all(self) -> list[Note]:
        return [Note.from_entry(entry) for entry in (await self.store.list(f"{self.prefix}/")).entries]

    def _new_id(self) -> str:
        return self._ids.next(self._wall())


def _size(notes: Sequence[Note]) -> int:
    return sum(note.size for note in notes)
