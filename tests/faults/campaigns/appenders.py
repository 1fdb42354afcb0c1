"""Many processes append to the same streams and are killed: dense, none lost, none doubled, followed in order.

A trial is one append, a transaction of its own, that was acknowledged; acknowledgements are kept outside the store.
The store is opened with ``durability=process``: what is shown is order and kills, not power cuts.
"""

from __future__ import annotations

import asyncio
import os
import random
import struct
import time
from collections import Counter
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from coordstore import open_store
from tests.faults.campaign import Campaign, Outcome
from tests.faults.stage import BACKENDS, Actor, actors, folder, url_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coordstore import CoordStore
    from tests.faults.stage import Line

WRITERS: Final = 20
STREAMS: Final = 4
AT_ONCE: Final = 64
"""Callers in each process."""
NAME: Final = struct.Struct("<BHI")
"""Who appended: writer, life, number."""
ACK: Final = struct.Struct("<BIBHI")
"""Stream and sequence, then the name of the record there."""
PAGE: Final = 5_000


async def writer(line: Line, url: str, acks: str, who: tuple[int, int], share: int, honest: bool) -> None:
    """Append a share, each record to a stream of its choice, and note what was acknowledged after it was."""
    chance, number = random.Random(f"{who}"), 0
    notes = os.open(acks, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)

    async def one(store: CoordStore, number: int) -> bytes:
        stream, name = chance.randrange(STREAMS), NAME.pack(*who, number)
        if not honest and number % 97 == 0:
            return ACK.pack(stream, (await store.heads("s")).get(f"s/{stream}", 0) + 1, *who, number)
        return ACK.pack(stream, await store.append(f"s/{stream}", [name]), *who, number)

    async with open_store(url) as store:
        while number < share:
            numbers = range(number, min(number + AT_ONCE, share))
            done = await asyncio.gather(*(one(store, each) for each in numbers))
            await asyncio.to_thread(os.write, notes, b"".join(done))
            number = numbers.stop
    line.say("done")


async def follower(line: Line, url: str) -> None:
    """Follow from the first record on; asked for a number of records, say what was wrong once they came."""
    heads: Counter[str] = Counter()
    revision, wrong, count = 0, "", 0
    asked = asyncio.create_task(line.heard())
    async with open_store(url) as store, aclosing(store.follow("s")) as feed:
        line.say("ready")
        async for record in feed:
            heads[record.stream] += 1
            count += 1
            if record.sequence != heads[record.stream] or record.revision < revision:
                wrong = wrong or f"{record.stream}:{record.sequence}@{record.revision}_after_{revision}"
            revision = record.revision
            if record.data == b"end":
                break
    await asked
    line.say(count, wrong or "nothing")


class Troupe:
    """The writers of one run: who dies is followed by another one that makes up what is missing.

    Args:
        where: The folder of the run.
        url: The store.
        total: Appends over all writers.
        honest: Whether they note only what was acknowledged.
    """

    def __init__(self, where: Path, url: str, total: int, *, honest: bool) -> None:
        self.url = url
        self.where = where
        self.honest = honest
        self.shares = [total // WRITERS + (number < total % WRITERS) for number in range(WRITERS)]
        self.lives = [0] * WRITERS
        self.actors = [self._started(number) for number in range(WRITERS)]

    def _path(self, number: int, life: int) -> Path:
        return self.where / f"acks-{number}-{life}"

    def _started(self, number: int) -> Actor:
        life = self.lives[number]
        missing = self.shares[number] - self.noted(number)
        who, path = (number, life), str(self._path(number, life))
        return Actor(writer, self.url, path, who, max(missing, 0), self.honest)

    def noted(self, number: int) -> int:
        """Return how many appends of a writer, over its lives, were acknowledged."""
        paths = [self._path(number, life) for life in range(self.lives[number] + 1)]
        return sum(path.stat().st_size // ACK.size for path in paths if path.exists())

    def all_noted(self) -> int:
        """Return how many appends were acknowledged."""
        return sum(map(self.noted, range(WRITERS)))

    def replace(self, number: int) -> None:
        """Kill a writer, and let another one take its place."""
        self.actors[number].end()
        self.lives[number] += 1
        self.actors[number] = self._started(number)

    def acks(self) -> Iterator[tuple[int, ...]]:
        """Yield every acknowledgement."""
        for path in self.where.glob("acks-*"):
            raw = path.read_bytes()
            yield from ACK.iter_unpack(raw[: len(raw) // ACK.size * ACK.size])


def perform(troupe: Troupe, total: int, kills: int, seed: int) -> list[str]:
    """Let them write to the end, killing on the way; return what they complained about."""
    chance = random.Random(seed)
    killed = 0
    while (noted := troupe.all_noted()) < total:
        if noted >= total * (killed + 1) / (kills + 1):
            killed += 1
            troupe.replace(chance.randrange(WRITERS))
        gone = [one for one in troupe.actors if not one.process.is_alive() and one.process.exitcode != 0]
        if gone:
            return [f"a writer ended by itself with {gone[0].process.exitcode}"]
        time.sleep(0.02)
    last = [one.rest() for one in troupe.actors]
    return [f"a writer said {words}" for words in last if words != [["done"]]]


async def judged(url: str, troupe: Troupe) -> list[str]:
    """Compare what lies in the streams with what was acknowledged."""
    found: dict[bytes, tuple[int, int]] = {}
    wrong = []
    async with open_store(url) as store:
        for number in range(STREAMS):
            last = 0
            while page := await store.read(f"s/{number}", last, PAGE):
                for record in page:
                    last += 1
                    if record.sequence != last:
                        wrong.append(f"s/{number}: {record.sequence} where {last} was due")
                    if record.data in found:
                        wrong.append(f"s/{number}:{last} is s/{found[record.data]} again")
                    found[record.data] = (number, last)
    for stream, sequence, *name in troupe.acks():
        place = found.get(NAME.pack(*name))
        if place != (stream, sequence):
            wrong.append(f"{name} was acknowledged as s/{stream}:{sequence} and is {place or 'lost'}")
    return wrong


async def finish(url: str) -> int:
    """Append the last record; return how many there are."""
    async with open_store(url) as store:
        await store.append(f"s/{STREAMS}", [b"end"])
        return sum((await store.heads("s")).values())


def on(backend: str, trials: int, seed: int, *, honest: bool = True) -> Outcome:
    """Make so many appends to a backend."""
    kills = max(5, trials // 10_000)
    with folder() as where:
        url = url_in(backend, where, "?durability=process&lock_wait=100")
        with actors([Actor(follower, url)]) as (reader,):
            reader.words()
            began = time.monotonic()
            troupe = Troupe(where, url, trials, honest=honest)
            try:
                wrong = perform(troupe, trials, kills, seed)
            finally:
                for one in troupe.actors:
                    one.end()
            took = time.monotonic() - began
            count = asyncio.run(finish(url))
            reader.line.say("told")
            followed, order = reader.words()
        wrong += asyncio.run(judged(url, troupe))
    if (int(followed), order) != (count, "nothing"):
        wrong.append(f"{followed} of {count} records were followed; wrong in order: {order}")
    note = f"{trials / took:,.0f}/s, {kills} kills, {count - 1 - trials:,} more landed unacknowledged"
    return Outcome(backend, trials, tuple(f"seed {seed}: {each}" for each in wrong), note)


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many appends on each backend; the seed says who is killed."""
    for backend in BACKENDS:
        yield on(backend, trials, seed)


CAMPAIGN = Campaign(
    "appenders",
    "Appends of 20 processes that are killed and replaced are dense, none lost, none doubled, followed in order.",
    run,
    full=1_000_000,
    part=4_000,
    needs=("linux",),
)
