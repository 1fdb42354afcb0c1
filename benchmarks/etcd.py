"""What the etcd backend adds to bare grpc.aio, how fast changes arrive, and what an outage costs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.table import Row, median
from coordstore import open_store
from coordstore.model import Append, Put, Transaction
from tests.etcdlab.finding import program
from tests.etcdlab.server import Options, Server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from coordstore import CoordStore

__all__ = ["measure"]

ROUNDS: Final = 30
CALLS: Final = 20
AT_ONCE: Final = 64
SECONDS: Final = 2
TIMES: Final = 1.3
DELIVERIES: Final = 300
DELIVERY: Final = 0.002
OUTAGE: Final = 6.0
CPU: Final = 0.05


def measure(scale: float = 1.0) -> list[Row]:
    """Measure against a server of its own on this machine; below a full size only try the code."""
    etcd = program(to_be_killed=True)
    if etcd is None:
        return [Row("etcd", "", "no etcd on PATH", None)]
    with tempfile.TemporaryDirectory() as name, Server(etcd, Path(name), Options(heartbeat=10, election=100)) as server:
        return asyncio.run(_measure(server, scale))


async def _measure(server: Server, scale: float) -> list[Row]:
    url = f"etcd://{server.endpoint}/bench"
    async with open_store(url) as store, open_store(url) as other:
        await store.put("a", b"v")
        await store.append("s", [b"r"])
        rows = [await _latency("put", store, lambda: store.put("a", b"v"), _put(store), scale)]
        rows += [await _latency("append", store, lambda: store.append("s", [b"r"]), _append(store), scale)]
        rows += [await _together(store, scale)]
        rows += [await _delivery(store, other, max(1, int(DELIVERIES * scale)))]
    rows += [await _outage(server, url, OUTAGE * scale)]
    return rows


async def _latency(
    what: str,
    store: CoordStore,
    ours: Callable[[], Awaitable[object]],
    request: Any,  # noqa: ANN401  (a message)
    scale: float,
) -> Row:
    """Compare a call with the same serialised transaction sent bare, in turns."""
    bare = _bare(store, request.SerializeToString())
    took: dict[str, list[float]] = {"ours": [], "bare": []}
    for number in range(2 * max(1, int(ROUNDS * scale))):
        name, call = ("ours", ours) if number % 2 else ("bare", bare)
        for _ in range(CALLS):
            began = time.perf_counter()
            await call()
            took[name].append(time.perf_counter() - began)
    mine, theirs = median(took["ours"]), median(took["bare"])
    figure = f"{mine / theirs:.2f} × ({mine * 1e3:.2f} ms against {theirs * 1e3:.2f} ms)"
    return Row(f"etcd: one {what} against bare grpc.aio", f"≤ {TIMES:g} ×", figure, mine <= TIMES * theirs)


def _bare(store: CoordStore, data: bytes) -> Callable[[], Awaitable[object]]:
    handle: Any = store
    channel = handle._cluster._members[0]._channel  # noqa: SLF001  (the same connection, nothing of ours around it)
    call = channel.unary_unary("/etcdserverpb.KV/Txn", request_serializer=None, response_deserializer=None)
    return lambda: call(data)


def _put(store: CoordStore) -> Any:  # noqa: ANN401  (a message)
    return _request(store, Transaction.of([Put("a", b"v")]), {})


def _append(store: CoordStore) -> Any:  # noqa: ANN401  (a message)
    """Return an append whose condition holds whenever it is sent: as large, and as much work for etcd."""
    return _request(store, Transaction.of(appends=[Append("bare", b"r")]), {"bare": (0, 0)})


def _request(store: CoordStore, txn: Transaction, heads: dict[str, tuple[int, int]]) -> Any:  # noqa: ANN401  (a message)
    from coordstore_etcd.messages import messages
    from coordstore_etcd.writer import Head

    writer: Any = vars(store)["_writer"]
    conditions, looks = writer.conditions(txn)
    made = {stream: Head(*head) for stream, head in heads.items()}
    return messages.TxnRequest(
        compare=[*conditions, *conditions[: len(heads)]],
        success=writer.operations(txn, made),
        failure=[*looks, *looks[: len(heads)]],
    )


async def _together(store: CoordStore, scale: float) -> Row:
    """Count puts of many callers at once."""
    number, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS * scale:
        await asyncio.gather(*(store.put(f"b/{n}", b"v") for n in range(AT_ONCE)))
        number += AT_ONCE
    rate = number / (time.perf_counter() - began)
    return Row(f"etcd: puts of {AT_ONCE} callers at once", "", f"{rate:,.0f} a second", None)


async def _delivery(store: CoordStore, other: CoordStore, count: int) -> Row:
    """Time from a put's acknowledgement to its delivery on another handle."""
    arrived: dict[int, float] = {}
    async with contextlib.aclosing(other.watch("w")) as batches:
        await anext(batches)

        async def watch() -> None:
            async for batch in batches:
                arrived[batch.revision] = time.perf_counter()
                if len(arrived) == count:
                    return

        watching = asyncio.create_task(watch())
        told = {}
        for _ in range(count):
            revision = await store.put("w/a", b"v")
            told[revision] = time.perf_counter()
        await watching
    took = sorted(max(arrived[revision] - at, 0.0) for revision, at in told.items())
    middle, late = took[len(took) // 2], took[len(took) * 99 // 100]
    figure = f"{middle * 1e3:.2f} ms, p99 {late * 1e3:.2f} ms behind the writer's own answer"
    return Row("etcd: a watched change, p50", f"≤ {DELIVERY * 1e3:g} ms", figure, middle <= DELIVERY)


async def _outage(server: Server, url: str, seconds: float) -> Row:
    """Measure the CPU time of a client with a watch, a follow, a lease and readers while nobody answers."""
    async with open_store(url, timeout=1) as store, await store.grant(5):
        tasks = [asyncio.create_task(_drain(feed)) for feed in (store.watch(), store.follow())]
        tasks += [asyncio.create_task(_poll(store)) for _ in range(4)]
        await asyncio.sleep(0.5)
        server.kill()
        await asyncio.sleep(1)
        began, cpu = time.perf_counter(), _cpu()
        await asyncio.sleep(seconds)
        share = (_cpu() - cpu) / (time.perf_counter() - began)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return Row("etcd: CPU of a client during an outage", f"< {CPU:.0%}", f"{share:.1%}", share < CPU)


async def _drain(feed: Any) -> None:  # noqa: ANN401  (batches or records)
    async with contextlib.aclosing(feed):
        async for _ in feed:
            pass


async def _poll(store: CoordStore) -> None:
    while True:
        with contextlib.suppress(ConnectionError):
            await store.get("a")
        await asyncio.sleep(0.1)


def _cpu() -> float:
    times = os.times()
    return times.user + times.system
