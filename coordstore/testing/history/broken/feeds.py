"""Planted-broken stores that err in watches and follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.model import Batch, Change
from coordstore.testing.history.broken.base import BrokenStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from coordstore.model import Record

__all__ = ["FEEDS"]


class WatchGap(BrokenStore):
    """Loses a batch now and then."""

    caught_by = frozenset({"watch reliable"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Leave batches out."""
        async for batch in super().do_watch(prefix, since):
            if batch.reset or not self.slips():
                yield batch


class ResumeGap(BrokenStore):
    """Goes on one revision too late when it is resumed."""

    caught_by = frozenset({"watch resumable"})

    def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Count one off."""
        return super().do_watch(prefix, since + 1 if since else since)


class WatchDuplicate(BrokenStore):
    """Delivers a batch twice now and then."""

    caught_by = frozenset({"watch unique"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Repeat."""
        async for batch in super().do_watch(prefix, since):
            yield batch
            if not batch.reset and self.slips():
                yield batch


class WatchSplit(BrokenStore):
    """Delivers each change of a transaction as a batch of its own."""

    caught_by = frozenset({"watch atomic"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Take batches apart."""
        async for batch in super().do_watch(prefix, since):
            if batch.reset or not batch.changes:
                yield batch
                continue
            for change in batch.changes:
                yield batch._replace(changes=[change])


class WatchReorder(BrokenStore):
    """Delivers two batches the wrong way round now and then."""

    caught_by = frozenset({"watch ordered"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Hold one back."""
        held: Batch | None = None
        async for batch in super().do_watch(prefix, since):
            if held is None and not batch.reset and self.slips():
                held = batch
                continue
            yield batch
            if held is not None:
                yield held
                held = None


class WatchMerged(BrokenStore):
    """Delivers two batches as one now and then, so that a state in between is lost."""

    caught_by = frozenset({"watch atomic"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Hold one back, and join it with the next."""
        held: list[Change] = []
        async for batch in super().do_watch(prefix, since):
            if not held and not batch.reset and self.slips():
                held = list(batch.changes)
                continue
            keys = {change.key for change in batch.changes}
            yield batch._replace(changes=[*(change for change in held if change.key not in keys), *batch.changes])
            held = []


class ResetIncomplete(BrokenStore):
    """Leaves a key out of a reset."""

    caught_by = frozenset({"watch bookmarkable"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Cut the end off."""
        known = self.memory.state.revision
        async for batch in super().do_watch(prefix, None if since is None else min(since, known)):
            yield batch._replace(changes=batch.changes[:-1]) if batch.reset else batch


class ResetGap(BrokenStore):
    """Goes on from the present after a reset, not from the reset's own revision."""

    caught_by = frozenset({"watch reliable"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Watch in two parts that do not meet."""
        if since is None:
            cut = await self.do_list(prefix, None, None, keys_only=False)
            yield Batch(cut.revision, reset=True, changes=[Change(entry.key, entry) for entry in cut.entries])
            since = self.memory.state.revision
        async for batch in super().do_watch(prefix, since):
            yield batch


class WatchLeak(BrokenStore):
    """Takes a prefix for a prefix of the text."""

    caught_by = frozenset({"watch filter"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Filter by `str.startswith` on a shorter text."""
        async for batch in super().do_watch("" if prefix.count("/") else prefix, since):
            yield batch


class WatchOldEntry(BrokenStore):
    """Looks the entry up when it delivers, not as it was at the revision."""

    caught_by = frozenset({"watch entries right"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Look again."""
        async for batch in super().do_watch(prefix, since):
            changes = [
                change._replace(entry=self.memory.state.get(change.key) if change.entry else None)
                for change in batch.changes
            ]
            yield batch if since == 0 else batch._replace(changes=changes)


class WatchCreations(BrokenStore):
    """Shows every change as a creation."""

    caught_by = frozenset({"watch creations"})

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Set the create revision."""
        async for batch in super().do_watch(prefix, since):
            changes = [
                each._replace(entry=each.entry and each.entry._replace(create_revision=each.entry.revision))
                for each in batch.changes
            ]
            yield batch._replace(changes=changes)


class FollowGap(BrokenStore):
    """Loses a record now and then."""

    caught_by = frozenset({"follow"})

    async def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Leave records out."""
        async for record in super().do_follow(prefix, after):
            if not self.slips():
                yield record


class FollowReorder(BrokenStore):
    """Delivers a record behind its successor now and then."""

    caught_by = frozenset({"follow"})

    async def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Hold one back."""
        held: Record | None = None
        async for record in super().do_follow(prefix, after):
            if held is None and self.slips():
                held = record
                continue
            yield record
            if held is not None:
                yield held
                held = None


FEEDS: Final[tuple[type[BrokenStore], ...]] = (
    WatchGap,
    ResumeGap,
    WatchDuplicate,
    WatchSplit,
    WatchReorder,
    WatchMerged,
    ResetIncomplete,
    ResetGap,
    WatchLeak,
    WatchOldEntry,
    WatchCreations,
    FollowGap,
    FollowReorder,
)
"""All of this module."""
