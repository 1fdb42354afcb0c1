"""One copy from beginning to end: begin or go on, catch up with the source, compare, and follow it on.

The source is only read. What the destination shows on the way is a state that the source had, or, before the first time
that it has caught up, a part of one: records up to it first, then its keys.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final, Self

from coordstore.copying.merged import Merged, Overtaken
from coordstore.copying.target import Target
from coordstore.copying.values import CopyRefused, CopyReport, Cut, Drop, Keep
from coordstore.copying.verify import compare
from coordstore.errors import StoreReplaced, Trimmed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from coordstore.store import CoordStore

__all__ = ["Copy", "copy_store"]

_FEW: Final = 64
"""Changes in a round after which the copy counts as caught up."""
_REST: Final = 4
"""While following, so many times as long as a round took passes before the next: a fifth of a core at most."""
_SETTLE: Final = 30.0
"""Seconds between two looks at what the source's streams do not tell by themselves, while following."""


async def copy_store(
    source: CoordStore,
    target: CoordStore,
    *,
    resume: bool = False,
    with_leased: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> CopyReport:
    """Copy a live store into an empty one and return once both are equal, as they were compared.

    Keys are copied with their values, not their revisions; streams with their sequences, in the order of the source's
    revisions. Cancelled: the destination keeps what it has, and a copy with `resume` goes on.

    Args:
        source: What to copy; it is only read, and may be written to all the time.
        target: Where to; nobody else may write to it.
        resume: Go on with an earlier copy of this source, instead of refusing a destination that is not empty.
        with_leased: Copy keys on leases too, as plain keys; they belong to living processes, so by default they stay.
        progress: Called with the number of keys and records copied, and how many there are.

    Raises:
        CopyRefused: The destination is the source, is not empty, or another copy writes to it.
        CopyDiffers: They are not equal in the end.
        CoordError: What a store raised; `resume` goes on.
    """
    async with Copy(source, target, resume=resume, with_leased=with_leased, progress=progress) as copy:
        return await copy.catch_up()


class Copy:
    """A copy at work, for the time of an ``async with``; the arguments are those of `copy_store`."""

    def __init__(
        self,
        source: CoordStore,
        target: CoordStore,
        *,
        resume: bool = False,
        with_leased: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        self._source = source
        self._store = target
        self._resume = resume
        self._with_leased = with_leased
        self._progress = progress
        self._total = 0
        self._stack = AsyncExitStack()
        self._target: Target
        self._merged: Merged

    async def __aenter__(self) -> Self:
        """Look at both stores and begin, or go on with an earlier copy."""
        self._info = await self._source.info()
        if self._info.store_id == (await self._store.info()).store_id:
            message = f"{self._info.url} would be copied into itself: name another destination"
            raise CopyRefused(message)
        async with AsyncExitStack() as stack:
            self._target = Target(self._store, self._info)
            position = await stack.enter_async_context(self._target.held(resume=self._resume))
            self._merged = await self._begin(position)
            stack.push_async_callback(self._merged.aclose)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; the destination keeps what it has."""
        await self._stack.aclose()

    async def catch_up(self) -> CopyReport:
        """Copy until little is left to do, then compare both stores at one revision of the source.

        Raises:
            CopyDiffers: They are not equal.
        """
        while True:
            before = self._target.copied
            cut = await self._round()
            if not await self._settle(cut) and self._target.copied - before <= _FEW:
                break
        if self._progress is not None:
            self._progress(self._total, self._total)
        compared = await compare(self._source, self._store, cut, self._merged.cursor)
        return CopyReport(
            self._info,
            await self._store.info(),
            cut.revision,
            len(cut.keys),
            len(self._merged.cursor),
            compared.records,
            compared.digest,
            self._target.copied,
            cut.leased,
            self._with_leased,
            self._target.resumed,
        )

    async def follow(self, told: Callable[[int], None] | None = None) -> None:
        """Copy what changes, for ever; cancel it to stop.

        Args:
            told: Called with each revision of the source that the destination has reached.
        """
        settled = time.monotonic()
        while True:
            await self._merged.anything()
            began = time.monotonic()
            cut = await self._round(digests=False)
            if began - settled > _SETTLE:
                await self._settle(cut)
                settled = began
            if told is not None:
                told(cut.revision)
            await asyncio.sleep(_REST * (time.monotonic() - began))

    async def _begin(self, position: int | None) -> Merged:
        mine = await Cut.of(self._source, with_leased=self._with_leased)
        theirs = await Cut.of(self._store, with_leased=True)
        if position is not None and position > mine.revision:
            message = (
                f"the copy is at revision {position} of its source, which is at {mine.revision} now: it was restored "
                "from a backup; copy it into an empty store"
            )
            raise StoreReplaced(message)
        told = {key: at for key, (at, _) in mine.keys.items() if position is not None and at <= position}
        if any(key not in theirs.keys or theirs.keys[key][1] != mine.keys[key][1] for key in told):
            position, told = None, {}  # somebody has changed what was copied: all keys once more
        if position is not None:
            await self._target.do(Keep(frozenset(mine.keys), position))
        cursor: dict[str, tuple[int, int]] = {}
        for stream, head in theirs.heads.items():
            revision = await self._revision_of(stream, head)
            if revision is None:
                await self._target.do(Drop(stream))
            else:
                cursor[stream] = head, revision
        there = sum(head for head, _ in cursor.values())
        self._total = len(mine.keys) - len(told) + sum(mine.heads.values()) - there
        return Merged(self._source, with_leased=self._with_leased, position=position, told=told, cursor=cursor)

    async def _revision_of(self, stream: str, head: int) -> int | None:
        """Return the source's revision of the destination's last record of a stream; 0: trimmed, None: not there."""
        try:
            mine = await self._source.read(stream, head - 1, 1)
        except Trimmed:
            return 0
        try:
            theirs = await self._store.read(stream, head - 1, 1)
        except Trimmed:
            return None
        return mine[0].revision if mine and theirs and mine[0].data == theirs[0].data else None

    async def _round(self, *, digests: bool = True) -> Cut:
        """Bring the destination to a cut of the source, and return that."""
        while True:
            cut = await Cut.of(self._source, with_leased=self._with_leased, digests=digests)
            try:
                async with aclosing(self._merged.steps(cut)) as steps:
                    async for step in steps:
                        await self._target.do(step)
                        if self._progress is not None:
                            self._progress(min(self._target.copied, self._total), self._total)
            except Overtaken:
                continue
            await self._target.flush()
            return cut

    async def _settle(self, cut: Cut) -> bool:
        """Trim what the source has trimmed; return whether a stream must be copied anew."""
        anew = False
        async with aclosing(self._merged.settle(cut)) as steps:
            async for step in steps:
                await self._target.do(step)
                anew = anew or isinstance(step, Drop)
        return anew
