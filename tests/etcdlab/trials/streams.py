"""Cut streams: a watch and a follow through a proxy that cuts connections at random bytes lose and double nothing."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final, TypeVar

from coordstore import open_store
from coordstore.errors import CoordError
from coordstore.model import Append, Put
from tests.etcdlab.proxy import Proxy
from tests.etcdlab.tally import Tally

if TYPE_CHECKING:
    import random
    from collections.abc import Sequence

    from coordstore import CoordStore
    from coordstore.model import Record
    from tests.etcdlab.server import Server

__all__ = ["catch_up", "cut_streams"]

Item = TypeVar("Item")
PATIENCE: Final = 50.0
END: Final = "w/end"


async def watched(store: CoordStore, since: int, tally: Tally, until: str = END) -> list[tuple[int, str, bytes]]:
    """Return every change that a watch delivers until a key is written; a reset is a failure."""
    seen = []
    async with contextlib.aclosing(store.watch("w", since)) as batches:
        async for batch in batches:
            tally.check(not batch.reset, f"a reset at {batch.revision}, and nothing was compacted")
            seen += [(batch.revision, change.key, change.entry.value) for change in batch.changes if change.entry]
            if any(change.key == until for change in batch.changes):
                return seen
    return seen


async def followed(store: CoordStore) -> list[Record]:
    """Return every record that a follow yields until one says end."""
    seen = []
    async with contextlib.aclosing(store.follow("s")) as records:
        async for record in records:
            seen.append(record)
            if record.data == b"end":
                return seen
    return seen


async def write(store: CoordStore, number: int, size: int) -> tuple[int, str, bytes]:
    """Write a key and a record in one transaction; return what a watch should deliver of it."""
    value = b"%d " % number + b"x" * size
    key = f"w/{number % 7}"
    revision = await store.transact([Put(key, value)], appends=[Append(f"s/{number % 3}", value)])
    return revision, key, value


async def cut_streams(server: Server, prefix: str, writes: int, rng: random.Random) -> Tally:
    """Write so many transactions past the proxy while everything behind it is cut after a random number of bytes."""
    tally = Tally()
    async with (
        Proxy(server.host, server.port) as proxy,
        open_store(f"etcd://{proxy.endpoint}/{prefix}") as behind,
        open_store(f"etcd://{server.endpoint}/{prefix}") as direct,
    ):
        begin = await direct.put("begin", b"")
        # Now and then so few that nothing gets through at all.
        proxy.lifetime = lambda: rng.choice([rng.randrange(1, 400), rng.randrange(1, 4_000), rng.randrange(1, 40_000)])
        proxy.cut()
        watch = asyncio.create_task(watched(behind, begin, tally))
        follow = asyncio.create_task(followed(behind))
        expected = [await write(direct, number, rng.randrange(200)) for number in range(writes)]
        # etcd puts all that a watcher has missed into one message: it must fit through at last.
        most = 1_000 * writes
        proxy.lifetime = lambda: rng.randrange(1, most)
        expected.append((await direct.put(END, b"end"), END, b"end"))
        await direct.append("s/end", [b"end"])
        async with asyncio.timeout(PATIENCE + writes / 20):
            seen, records = await told(tally, "the watch", watch), await told(tally, "the follow", follow)
        compare(tally, expected, seen, records)
        tally.trials = proxy.cuts
        tally.counts["changes"] = len(seen)
        tally.counts["records"] = len(records)
    return tally


async def told(tally: Tally, what: str, task: asyncio.Task[list[Item]]) -> list[Item]:
    """Return what a watcher was told; that it broke off is a failure."""
    try:
        return await task
    except CoordError as error:
        tally.check(False, f"{what}: {error!r}")
        return []


def compare(
    tally: Tally, expected: list[tuple[int, str, bytes]], seen: list[tuple[int, str, bytes]], records: list[Record]
) -> None:
    """Note what was lost, doubled or out of order."""
    tally.check(seen == expected, f"the watch: {difference(expected, seen)}")
    written = [(revision, value) for revision, _, value in expected[:-1]]
    read = [(record.revision, record.data) for record in records[:-1]]
    tally.check(read == written, f"the follow: {difference(written, read)}")


def difference(expected: Sequence[object], seen: Sequence[object]) -> str:
    """Return where two lists part."""
    at = next((n for n, (one, two) in enumerate(zip(expected, seen, strict=False)) if one != two), len(seen))
    return f"{len(seen)} of {len(expected)}, first difference at {at}"


async def catch_up(server: Server, prefix: str, megabytes: int, rng: random.Random) -> Tally:
    """Cut a watcher off, write so much, and let it catch up through cuts: every revision comes, in order."""
    tally = Tally()
    size = 256 * 1024
    async with (
        Proxy(server.host, server.port) as proxy,
        open_store(f"etcd://{proxy.endpoint}/{prefix}") as behind,
        open_store(f"etcd://{server.endpoint}/{prefix}") as direct,
    ):
        begin = await direct.put("w/first", b"")
        begun = asyncio.Event()
        watch = asyncio.create_task(revisions(behind, begin - 1, tally, begun))
        await begun.wait()
        proxy.refusing = True
        proxy.cut()
        expected = [begin, *[await direct.put(f"w/{at % 50}", rng.randbytes(size)) for at in range(megabytes * 4)]]
        expected.append(await direct.put(END, b""))
        proxy.refusing = False
        proxy.lifetime = lambda: rng.randrange(1 << 20, 16 << 20)
        async with asyncio.timeout(PATIENCE + megabytes * 2):
            seen = await watch
        tally.check(seen == expected, difference(expected, seen))
        tally.trials = 1
        tally.counts["MB"] = megabytes
        tally.counts["cuts"] = proxy.cuts
        tally.counts["revisions"] = len(seen)
    return tally


async def revisions(store: CoordStore, since: int, tally: Tally, begun: asyncio.Event) -> list[int]:
    """Return the revisions that a watch delivers until the end; a reset is a failure."""
    seen = []
    async with contextlib.aclosing(store.watch("w", since)) as batches:
        async for batch in batches:
            tally.check(not batch.reset, f"a reset at {batch.revision}, and nothing was compacted")
            seen.append(batch.revision)
            begun.set()
            if any(change.key == END for change in batch.changes):
                return seen
    return seen
