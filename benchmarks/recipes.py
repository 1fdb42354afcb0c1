"""What the recipes cost: a lock against raw transactions, its hand-over, the pool, the mailbox against two peers."""

from __future__ import annotations

import asyncio
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks.environments import python_of
from benchmarks.table import Row, median
from coordstore import open_store
from coordstore.recipes import Lock, Mailbox, Pool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordstore.store import CoordStore

__all__ = ["measure"]

ROUNDS: Final = 5
TIMES: Final = 100
MESSAGES: Final = 500
SCHEMES: Final = ("sqlite", "file")
PEERS: Final = {
    "huey": """
import sys, time
from huey import SqliteHuey
huey = SqliteHuey(filename=sys.argv[1] + "/huey.db", fsync=False)
@huey.task()
def handle(body):
    return None
began = time.perf_counter()
for n in range(int(sys.argv[2])):
    handle({"n": n})
for n in range(int(sys.argv[2])):
    huey.execute(huey.dequeue())
print(time.perf_counter() - began)
""",
    "persist-queue": """
import sys, time
from persistqueue import SQLiteAckQueue
queue = SQLiteAckQueue(sys.argv[1] + "/queue", auto_commit=True)
began = time.perf_counter()
for n in range(int(sys.argv[2])):
    queue.put({"n": n})
for n in range(int(sys.argv[2])):
    queue.ack(queue.get())
print(time.perf_counter() - began)
""",
}
"""Put and finish messages one by one, each safe from kill -9 once it is put, like ours at ``durability=process``."""


async def rate(action: Callable[[], Awaitable[object]]) -> float:
    """Return how often a second something can be done."""
    began = time.perf_counter()
    for _ in range(TIMES):
        await action()
    return TIMES / (time.perf_counter() - began)


async def uncontended(store: CoordStore) -> float:
    """Return the rate of a lock on a lease of ours over that of the two transactions that it takes at least."""
    async with await store.grant(60) as lease:
        lock = Lock(store, "bench", lease=lease)

        async def raw() -> None:
            await store.create("bench/raw", b"", lease)
            await store.delete("bench/raw")

        async def locked() -> None:
            async with await lock.acquire():
                pass

        # In turn, one by one: what else the machine does meets both alike.
        took: dict[bool, list[float]] = {False: [], True: []}
        for _ in range(2 * TIMES):
            for ours in (False, True):
                began = time.perf_counter()
                await (locked if ours else raw)()
                took[ours].append(time.perf_counter() - began)
    return median(took[False]) / median(took[True])


async def hand_over(one: CoordStore, two: CoordStore) -> float:
    """Return the seconds from a release to the acquisition by who waits on another handle."""
    took = []
    async with await one.grant(60) as lease, await two.grant(60) as other:
        for _ in range(TIMES // 2):
            held = await Lock(one, "bench", lease=lease).acquire()
            waiting = asyncio.ensure_future(Lock(two, "bench", lease=other).acquire())
            await asyncio.sleep(0.02)  # until it waits; one that does not yet only makes the figure worse
            began = time.perf_counter()
            await held.release()
            handed = await waiting
            took.append(time.perf_counter() - began)
            await handed.release()
    return median(took)


async def reservations(store: CoordStore) -> float:
    """Return reservations and releases a second, of one after the other."""
    async with await store.grant(60) as lease:
        pool = Pool(store, "bench", lease=lease)
        for n in range(8):
            await pool.register(f"a{n}")

        async def reserve() -> None:
            await (await pool.reserve(wait=0)).release()

        return max([await rate(reserve) for _ in range(ROUNDS)])


async def messages(store: CoordStore, count: int) -> float:
    """Return messages a second, sent, received and acknowledged one by one."""
    mail = Mailbox(store, "bench", "me")
    began = time.perf_counter()
    for n in range(count):
        await mail.send("me", {"n": n})
    async with mail.inbox(prefetch=32) as inbox:
        for _ in range(count):
            message = await inbox.receive()
            assert message is not None
            await message.ack()
    return count / (time.perf_counter() - began)


def peer(name: str, folder: Path, count: int) -> float:
    """Return a peer's messages a second."""
    argv = [python_of(name), "-c", PEERS[name], str(folder), str(count)]
    return count / float(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)


async def on(scheme: str, folder: Path, count: int) -> list[Row]:
    """Measure one backend."""
    async with open_store(f"{scheme}:{folder}/full") as store, open_store(f"{scheme}:{folder}/full") as other:
        ratio, took = await uncontended(store), await hand_over(store, other)
    async with open_store(f"{scheme}:{folder}/process?durability=process") as store:
        pairs, mail = await reservations(store), await messages(store, count)
    return [
        Row(f"{scheme}: uncontended lock against two raw transactions", "≥ 0.8×", f"{ratio:.2f}×", ratio >= 0.8),  # noqa: PLR2004
        Row(f"{scheme}: lock handed over, p50", "≤ 5 ms", f"{took * 1000:.1f} ms", took <= 0.005),  # noqa: PLR2004
        Row(f"{scheme}: pool, reserve and release", "≥ 1,000/s", f"{pairs:,.0f} pairs/s", pairs >= 1000),  # noqa: PLR2004
        Row(f"{scheme}: mailbox, sent, received and acknowledged", "", f"{mail:,.0f}/s", None),
    ]


def measure(scale: float = 1.0, peers: tuple[str, ...] = tuple(PEERS)) -> list[Row]:
    """Measure the backends of this host, then the peers with as many messages."""
    rows, count = [], max(round(MESSAGES * scale), 1)
    with tempfile.TemporaryDirectory() as folder:
        for scheme in SCHEMES:
            rows += asyncio.run(on(scheme, Path(folder, scheme), count))
        for name in peers:
            rows.append(
                Row(f"  peer: {name}, the same messages", "", f"{peer(name, Path(folder), count):,.0f}/s", None)
            )
    return rows
