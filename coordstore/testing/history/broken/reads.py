"""Planted-broken stores that err in gets, lists, reads of streams and resolutions."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from coordstore.model import Listing, Resolution
from coordstore.testing.history.broken.base import BrokenStore

if TYPE_CHECKING:
    import random

    from coordstore.model import Entry, Record
    from coordstore.testing.memory import Memory

__all__ = ["READS"]


class StaleCache(BrokenStore):
    """Answers some gets from a cache that only its own handle's reads refresh."""

    caught_by = frozenset({"stale read"})
    share = 0.3

    def __init__(self, memory: Memory, rng: random.Random) -> None:
        super().__init__(memory, rng)
        self._cache: dict[str, Entry | None] = {}

    async def do_get(self, key: str) -> Entry | None:
        """Look into the cache first."""
        if key not in self._cache or not self.slips():
            self._cache[key] = await super().do_get(key)
        return self._cache[key]


class StaleAbsence(BrokenStore):
    """Says that a key is absent when it has only just been made."""

    caught_by = frozenset({"stale read"})

    async def do_get(self, key: str) -> Entry | None:
        """Miss it."""
        return None if self.slips() else await super().do_get(key)


class MixedEntry(BrokenStore):
    """Reads the value and the revision of a key at two times."""

    caught_by = frozenset({"wrong read"})
    share = 1.0

    async def do_get(self, key: str) -> Entry | None:
        """Look twice."""
        first, second = await super().do_get(key), await super().do_get(key)
        return first._replace(revision=second.revision) if first and second and self.slips() else first


class TwoCutList(BrokenStore):
    """Reads the second half of a list later than the first."""

    caught_by = frozenset({"no such cut"})

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Look twice."""
        first = await super().do_list(prefix, limit, after, keys_only=keys_only)
        second = await super().do_list(prefix, limit, after, keys_only=keys_only)
        half = len(first.entries) // 2
        return Listing(second.revision, first.entries[:half] + second.entries[half:], first.more)


class StaleList(BrokenStore):
    """Answers some lists from a cut that is out of date, though consistent."""

    caught_by = frozenset({"stale read"})

    def __init__(self, memory: Memory, rng: random.Random) -> None:
        super().__init__(memory, rng)
        self._cache: dict[tuple[str, int | None, str | None, bool], Listing] = {}

    async def do_list(self, prefix: str, limit: int | None, after: str | None, *, keys_only: bool) -> Listing:
        """Look into the cache first."""
        asked = (prefix, limit, after, keys_only)
        if asked not in self._cache or not self.slips():
            self._cache[asked] = await super().do_list(prefix, limit, after, keys_only=keys_only)
        return self._cache[asked]


class LaggingStream(BrokenStore):
    """Leaves the last record out of some reads."""

    caught_by = frozenset({"stale read"})

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Cut the end off."""
        found = await super().do_read(stream, after, limit)
        return found[:-1] if self.slips() else found


class SkippingStream(BrokenStore):
    """Leaves a record in the middle out of some reads."""

    caught_by = frozenset({"not a slice"})

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Cut a piece out."""
        found = await super().do_read(stream, after, limit)
        return found[:1] + found[2:] if self.slips() else found


class StaleHeads(BrokenStore):
    """Tells the heads of some time ago."""

    caught_by = frozenset({"stale read"})

    def __init__(self, memory: Memory, rng: random.Random) -> None:
        super().__init__(memory, rng)
        self._cache: dict[str, dict[str, int]] = {}

    async def do_heads(self, prefix: str) -> dict[str, int]:
        """Look into the cache first."""
        if prefix not in self._cache or not self.slips():
            self._cache[prefix] = await super().do_heads(prefix)
        return self._cache[prefix]


class LookOnly(BrokenStore):
    """Resolves an unknown outcome by looking alone, while the write is still under way."""

    caught_by = frozenset({"wrong resolution"})

    async def resolve(self, op: str) -> Resolution:
        """Look, and leave the slot where it is."""
        key, mark, _ = json.loads(op)
        entry = self.memory.state.get(key)
        found = entry is not None and entry.value == mark.encode()
        return Resolution(applied=found, revision=entry.revision if found and entry else None)


READS: Final[tuple[type[BrokenStore], ...]] = (
    StaleCache,
    StaleAbsence,
    MixedEntry,
    TwoCutList,
    StaleList,
    LaggingStream,
    SkippingStream,
    StaleHeads,
    LookOnly,
)
"""All of this module."""
