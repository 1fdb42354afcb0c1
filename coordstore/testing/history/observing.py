"""What goes on around a workload: watches and follows while it runs, and everything read at its end."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

from coordstore.errors import OutcomeUnknown
from coordstore.model import Append, Put
from coordstore.testing.history.history import FINAL, History
from coordstore.testing.history.recording import RecordingStore
from coordstore.testing.history.workload import work

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from coordstore.store import CoordStore
    from coordstore.testing.history.record import Recorder
    from coordstore.testing.history.workload import Hook, Shape

__all__ = ["final_phase", "observing", "run"]

END: Final = "end"
"""Last segment of the keys, and the stream, that are written last of all."""


@contextlib.asynccontextmanager
async def observing(stores: Sequence[CoordStore], recorder: Recorder, shape: Shape) -> AsyncIterator[None]:
    """Watch and follow while the body runs and until what `final_phase` writes last has come, which the body does last.

    There are a watch from the first revision, one that is broken off and resumed all the time, two that begin with
    a reset, one of them on a part, and two follows. One that does not come to its end in time is noted as hanging.
    """
    rng = shape.random("observers")
    watchers = {
        "whole": _watch(stores[0], recorder, "whole", shape.root, 0, lambda: False),
        "resumed": _resumed(stores[-1], recorder, shape.root, lambda: rng.random() < 0.1),
        "reset": _watch(stores[-1], recorder, "reset", "", None, lambda: False),
        "part": _watch(stores[0], recorder, "part", f"{shape.root}/e0", None, lambda: False),
        "follow": _follow(stores[0], recorder, "follow", "", {}),
        "cursor": _follow(stores[-1], recorder, "cursor", shape.root, {f"{shape.root}/{END}": 0}),
    }
    tasks = {name: asyncio.create_task(watcher, name=name) for name, watcher in watchers.items()}
    try:
        yield
        await asyncio.wait(tasks.values(), timeout=shape.patience)
    finally:
        hung = [name for name, task in tasks.items() if not task.done()]
        for task in tasks.values():
            task.cancel()
        # What one of them raised stands in the history.
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        recorder.note(hung=hung)


async def _watch(
    store: CoordStore, recorder: Recorder, name: str, prefix: str, since: int | None, stop: Callable[[], bool]
) -> int | None:
    """Watch to the end, and return None, or until told to stop, and return the revision reached."""
    watch = RecordingStore(store, recorder, f"watch-{name}").watch(prefix, since)
    async with contextlib.aclosing(watch) as batches:
        async for batch in batches:
            if any(change.key.endswith(f"/{END}") for change in batch.changes):
                return None
            if stop():
                return batch.revision
    return None


async def _resumed(store: CoordStore, recorder: Recorder, prefix: str, stop: Callable[[], bool]) -> None:
    position: int | None = 0
    number = 0
    while position is not None:
        number += 1
        position = await _watch(store, recorder, f"resumed{number}", prefix, position, stop)


async def _follow(store: CoordStore, recorder: Recorder, name: str, prefix: str, after: dict[str, int]) -> None:
    follow = RecordingStore(store, recorder, f"follow-{name}").follow(prefix, after)
    async with contextlib.aclosing(follow) as records:
        async for record in records:
            if record.stream.endswith(f"/{END}"):
                return


async def final_phase(store: CoordStore, recorder: Recorder, shape: Shape) -> None:
    """Write a last transaction, read every key and stream from zero, and take the whole log.

    To be called when all clients have ended and all faults are healed, also those that delay a write. The last
    transaction is repeated when its outcome is unknown: a connection may die of a fault after that has ended.
    """
    final = RecordingStore(store, recorder, FINAL)
    mark = f"{END}:{shape.seed}".encode()
    async with asyncio.timeout(shape.patience):
        await _end(final, shape, mark)
    await final.list("")
    for stream in await final.heads(""):
        await final.read(stream)
    # Leases may end all the while: only a log that is longer than everything that was seen can judge it.
    last = await final.put(f"{shape.root}/closed", mark)
    try:
        async with asyncio.timeout(shape.patience), contextlib.aclosing(final.watch("", 0)) as batches:
            async for batch in batches:
                if batch.revision >= last:
                    break
    except TimeoutError:
        recorder.note(hung=["the final log"])


async def _end(final: RecordingStore, shape: Shape, mark: bytes) -> None:
    for number in itertools.count():
        value = mark + b".%d" % number  # each its own: a write is known by what it says
        ends = [Put(f"{prefix}/{END}", value) for prefix in (shape.root, f"{shape.root}/e0")]
        with contextlib.suppress(OutcomeUnknown):
            await final.transact(ends, appends=[Append(f"{shape.root}/{END}", value)])
            return


async def run(
    stores: Sequence[CoordStore],
    recorder: Recorder,
    shape: Shape,
    hook: Hook | None = None,
    heal: Callable[[], Awaitable[object]] | None = None,
) -> History:
    """Do a whole run in this process: clients, observers, the final phase; return its history.

    Args:
        stores: Handles on one store that was empty before.
        recorder: Where to write.
        shape: What to do.
        hook: As in `work`.
        heal: Called before the final phase: ends all faults.
    """
    recorder.note(**asdict(shape))
    async with observing(stores, recorder, shape):
        await work(stores, recorder, shape, hook)
        if heal is not None:
            await heal()
        await final_phase(stores[0], recorder, shape)
    return History(recorder.operations, minimum=shape.operations // 2)
