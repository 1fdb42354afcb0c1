"""Planted-broken stores that err in watches and streams."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.errors import Conflict, Trimmed
from coordstore.model import Batch, Change, Committed, Transaction
from coordstore.testing.broken.base import BrokenStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from coordstore.model import Record
    from coordstore.store.feeds import ChangePage, RecordPage

__all__ = [
    "DeafWatch",
    "DuplicateOnRetry",
    "FollowByStream",
    "FollowFixed",
    "FollowForgets",
    "ForgottenHead",
    "MergedBatches",
    "SequenceGap",
    "SilentCompaction",
    "SilentTrim",
    "SplitBatch",
    "WatchGap",
]


class WatchGap(BrokenStore):
    """Goes on from the present after a reset, not from the reset's own revision."""

    caught_by = "WatchTests"
    hangs = True

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Watch in two parts that do not meet."""
        if since is None:
            cut = await self.do_list(prefix, None, None, keys_only=False)
            yield Batch(cut.revision, reset=True, changes=[Change(entry.key, entry) for entry in cut.entries])
            since = self.memory.state.revision
        async for batch in super().do_watch(prefix, since):
            yield batch


class SplitBatch(BrokenStore):
    """Delivers each change of a transaction as a batch of its own."""

    caught_by = "WatchTests"

    async def do_watch(self, prefix: str, since: int | None) -> AsyncGenerator[Batch]:
        """Take batches apart."""
        async for batch in super().do_watch(prefix, since):
            for change in batch.changes:
                yield batch._replace(changes=[change])
            if not batch.changes:
                yield batch


class MergedBatches(BrokenStore):
    """Delivers what it finds at once as one batch, so that states in between are lost."""

    caught_by = "WatchTests"

    async def changes_since(self, prefix: str, since: int, limit: int) -> ChangePage:
        """Merge a page."""
        page = await super().changes_since(prefix, since, limit)
        last = {change.key: change for _, changes in page.batches for change in changes}
        return page._replace(batches=[(page.upto, list(last.values()))] if last else [])


class SilentCompaction(BrokenStore):
    """Begins at the floor when asked for less, without a word."""

    caught_by = "WatchTests"

    async def changes_since(self, prefix: str, since: int, limit: int) -> ChangePage:
        """Hide the floor."""
        return (await super().changes_since(prefix, since, limit))._replace(floor=0)


class DeafWatch(BrokenStore):
    """Leaves its watchers waiting when the handle is closed."""

    caught_by = "WatchTests"
    hangs = True

    async def do_close(self) -> None:
        """Wake nobody."""


# --- streams --------------------------------------------------------------------------------------------


class SequenceGap(BrokenStore):
    """Burns a sequence for a transaction that was refused."""

    caught_by = "StreamTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Move the heads in any case."""
        try:
            return await super().do_transact(txn)
        except Conflict:
            done = self.force(Transaction(appends=txn.appends))
            for name, head in done.heads.items():
                self.memory.state._cut(name, head)  # noqa: SLF001  (a bug needs a way round)
            raise


class DuplicateOnRetry(BrokenStore):
    """Loses every fifth reply to an append and sends it again, although it had landed."""

    caught_by = "StreamTests"

    async def do_transact(self, txn: Transaction) -> Committed:
        """Retry what was applied."""
        done = await super().do_transact(txn)
        if txn.appends and not txn.checks and done.revision % 5 == 0:
            return await super().do_transact(Transaction(appends=txn.appends))
        return done


class ForgottenHead(BrokenStore):
    """Forgets a stream that is trimmed to its end, so that sequences come twice."""

    caught_by = "StreamTests"

    async def do_trim(self, stream: str, upto: int) -> None:
        """Drop what is empty."""
        await super().do_trim(stream, upto)
        if upto >= self.memory.state.head(stream):
            await self.do_drop(stream)


class SilentTrim(BrokenStore):
    """Reads on behind a trim as if nothing had been there."""

    caught_by = "StreamTests"

    async def do_read(self, stream: str, after: int, limit: int | None) -> list[Record]:
        """Skip what is gone."""
        try:
            return await super().do_read(stream, after, limit)
        except Trimmed as gone:
            return await super().do_read(stream, gone.first - 1, limit)


class FollowByStream(BrokenStore):
    """Delivers stream by stream, so that an effect may come before its cause."""

    caught_by = "FollowTests"

    async def records_since(self, prefix: str, since: int, limit: int) -> RecordPage:
        """Sort a page by name."""
        page = await super().records_since(prefix, since, limit)
        return page._replace(records=sorted(page.records, key=lambda record: (record.stream, record.sequence)))


class FollowForgets(BrokenStore):
    """Begins every stream anew when a follow is resumed."""

    caught_by = "FollowTests"

    def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Ignore the cursor."""
        return super().do_follow(prefix, {})


class FollowFixed(BrokenStore):
    """Follows only the streams that were there when it began."""

    caught_by = "FollowTests"
    hangs = True

    async def do_follow(self, prefix: str, after: Mapping[str, int]) -> AsyncGenerator[Record]:
        """Look for streams once."""
        known = self.memory.state.spans(prefix)
        async for record in super().do_follow(prefix, after):
            if record.stream in known:
                yield record
