"""Two processes compact one store all the time while two others write, and one of them is killed now and then.

A trial is a compaction that ended. Afterwards all that was acknowledged is there, and a follow from the beginning
and a watch from the compaction floor agree with it.
"""

from __future__ import annotations

import asyncio
import random
import select
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from coordstore import open_store
from coordstore.errors import Unavailable
from coordstore.model import Append, Put
from tests.faults.campaign import Campaign, Outcome
from tests.faults.stage import BACKENDS, Actor, folder, url_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from coordstore.model import Batch
    from tests.faults.stage import Line

WRITERS: Final = 2
COMPACTORS: Final = 2
KILL_EACH: Final = 20
"""Compactions between two kills."""
PAUSE: Final = 0.003
"""Seconds in which each lets the others have the lock, which is not a fair one."""


async def writer(line: Line, url: str, number: int) -> None:
    """Write, tell what was acknowledged; stop when nobody listens any more."""
    async with open_store(url) as store:
        count = 0
        heard = asyncio.create_task(line.heard())
        while not heard.done():
            text = b"%d" % (count + 1)
            await store.transact(
                [Put(f"k/{number}", text), Put(f"k/{number}/{count % 7}", text)], appends=[Append(f"s/{number}", text)]
            )
            count += 1
            await asyncio.sleep(PAUSE)
    line.say(count)


async def compactor(line: Line, url: str, keep: int) -> None:
    """Compact for ever, telling each time."""
    async with open_store(url) as store:
        while True:
            try:
                await store.compact(keep=keep)
            except Unavailable:
                continue
            line.say("compacted")
            await asyncio.sleep(PAUSE)


def perform(url: str, trials: int, seed: int) -> tuple[list[int], int]:
    """Let them work until so many compactions ended; return what each writer was told, and the number of kills."""
    chance, kills = random.Random(seed), 0
    writers = [Actor(writer, url, number) for number in range(WRITERS)]
    compactors = [Actor(compactor, url, number) for number in range(COMPACTORS)]
    try:
        for done in range(trials):
            ready, _, _ = select.select([one.line for one in compactors], [], [])
            compactors[[one.line for one in compactors].index(chance.choice(ready))].words()
            if done % KILL_EACH == KILL_EACH - 1:
                time.sleep(chance.random() * 0.02)
                victim = chance.randrange(COMPACTORS)
                compactors[victim].end()
                compactors[victim] = Actor(compactor, url, victim)
                kills += 1
        for one in writers:
            one.line.say("stop")
        return [int(one.words()[0]) for one in writers], kills
    finally:
        for one in (*writers, *compactors):
            one.end()


async def judged(url: str, counts: list[int]) -> list[str]:
    """Compare the store with what the writers were told."""
    wrong = []
    async with open_store(url) as store:
        floor = (await store.info()).floor
        for number, count in enumerate(counts):
            data = [int(record.data) for record in await store.read(f"s/{number}")]
            if data != list(range(1, count + 1)):
                wrong.append(f"s/{number} has {len(data)} records, the last {data[-1:]}; {count} were acknowledged")
            entry = await store.get(f"k/{number}")
            if entry is None or int(entry.value) != count:
                wrong.append(f"k/{number} is {entry and entry.value!r}, {count} was acknowledged")
        followed = dict.fromkeys(range(len(counts)), 0)
        revision, left = 0, sum(counts)
        async with aclosing(store.follow("s")) as feed:
            async for record in feed:
                number = int(record.stream.removeprefix("s/"))
                if record.revision <= revision or record.sequence != followed[number] + 1:
                    wrong.append(f"followed {record.stream}:{record.sequence}@{record.revision} after {revision}")
                revision, followed[number], left = record.revision, record.sequence, left - 1
                if not left:
                    break
        revision = await store.put("k/end", b"")
        entries = {entry.key: entry for entry in (await store.list("k")).entries}
        async with aclosing(store.watch("k", since=floor)) as changes:
            latest = {change.key: change.entry async for batch in upto(changes, revision) for change in batch.changes}
        wrong += [f"a watch from {floor} saw {key} as {got}" for key, got in latest.items() if entries[key] != got]
    return wrong


async def upto(changes: AsyncIterator[Batch], revision: int) -> AsyncIterator[Batch]:
    """Yield batches up to a revision."""
    async for batch in changes:
        yield batch
        if batch.revision >= revision:
            return


def on(backend: str, trials: int, seed: int) -> Outcome:
    """Make so many compactions on a backend."""
    with folder() as where:
        url = url_in(backend, where)
        counts, kills = perform(url, trials, seed)
        wrong = asyncio.run(judged(url, counts))
    note = f"{sum(counts):,} transactions meanwhile, {kills} kills"
    return Outcome(backend, trials, tuple(f"seed {seed}: {each}" for each in wrong), note)


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many compactions on each backend."""
    for backend in BACKENDS:
        yield on(backend, trials, seed)


CAMPAIGN = Campaign(
    "compactors",
    "Processes that compact at once, and are killed, lose nothing of what others write.",
    run,
    full=1_000,
    part=60,
    needs=("linux",),
)
