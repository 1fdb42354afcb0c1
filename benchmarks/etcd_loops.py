"""Run in a client's own environment: 64 callers at once do one conditional put each, over and over; prints the rate.

``python -P etcd_loops.py NAME HOST:PORT SECONDS``; nothing of this project is imported but for our own turn.
"""

from __future__ import annotations

import asyncio
import base64
import importlib
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    Put = Callable[[bytes], Awaitable[object]]

AT_ONCE = 64
GUARD = b"rivals/guard"


@asynccontextmanager
async def coordstore(endpoint: str) -> AsyncIterator[Put]:
    """Open ours: the condition is on the store's identity."""
    library: Any = importlib.import_module("coordstore")
    async with library.open_store(f"etcd://{endpoint}/rivals") as store:
        yield lambda key: store.put(f"k/{key.decode()}", b"v")


@asynccontextmanager
async def aetcd(endpoint: str) -> AsyncIterator[Put]:
    """Open aetcd."""
    library: Any = importlib.import_module("aetcd")
    host, _, port = endpoint.partition(":")
    async with library.Client(host, int(port)) as client:
        await client.put(GUARD, b"")
        made, do = (await client.get(GUARD)).create_revision, client.transactions

        async def put(key: bytes) -> None:
            done, _ = await client.transaction(
                compare=[do.create(GUARD) == made], success=[do.put(key, b"v")], failure=[do.get(GUARD)]
            )
            assert done

        yield put


@asynccontextmanager
async def etcd3aio(endpoint: str) -> AsyncIterator[Put]:
    """Open etcd3aio."""
    library: Any = importlib.import_module("etcd3aio")
    client = library.Etcd3Client([endpoint])
    await client.connect()
    await client.kv.put(GUARD, b"")
    kinds: Any = next(module for name, module in sys.modules.items() if name.endswith("rpc_pb2"))

    async def put(key: bytes) -> None:
        answer = await client.kv.txn(
            compare=[kinds.Compare(result=1, target=1, key=GUARD, create_revision=0)],
            success=[kinds.RequestOp(request_put=kinds.PutRequest(key=key, value=b"v"))],
            failure=[kinds.RequestOp(request_range=kinds.RangeRequest(key=GUARD))],
        )
        assert answer.succeeded

    yield put
    await client.close()


@asynccontextmanager
async def etcd_client_py(endpoint: str) -> AsyncIterator[Put]:
    """Open etcd-client-py."""
    library: Any = importlib.import_module("etcd_client.etcd_client")
    condition = [library.Compare.create_revision(GUARD, library.CompareOp.GREATER, 0)]
    async with library.Client([f"http://{endpoint}"]).connect() as client:
        await client.put(GUARD, b"")
        other = [library.TxnOp.get(GUARD)]

        async def put(key: bytes) -> None:
            await client.txn(library.Txn().when(condition).and_then([library.TxnOp.put(key, b"v")]).or_else(other))

        yield put


@asynccontextmanager
async def etcd3gw(endpoint: str) -> AsyncIterator[Put]:
    """Open etcd3gw, which blocks: on as many threads as there are callers."""
    library: Any = importlib.import_module("etcd3gw")
    host, _, port = endpoint.partition(":")
    client = library.client(host, int(port))
    client.put(GUARD.decode(), "")
    threads = ThreadPoolExecutor(AT_ONCE)

    def coded(data: bytes) -> str:
        return base64.b64encode(data).decode()

    guard = {"key": coded(GUARD), "result": "GREATER", "target": "CREATE", "create_revision": 0}

    def put(key: bytes) -> None:
        success = [{"request_put": {"key": coded(key), "value": coded(b"v")}}]
        failure = [{"request_range": {"key": coded(GUARD)}}]
        assert client.transaction({"compare": [guard], "success": success, "failure": failure})["succeeded"]

    yield lambda key: asyncio.get_running_loop().run_in_executor(threads, put, key)


async def rate(name: str, endpoint: str, seconds: float) -> float:
    """Return how many puts a second a client does."""
    async with globals()[name](endpoint) as put:
        keys = [b"%d" % number for number in range(AT_ONCE)]
        await asyncio.gather(*map(put, keys))
        done, began = 0, time.perf_counter()

        async def caller(key: bytes) -> None:
            nonlocal done
            while time.perf_counter() - began < seconds:
                await put(key)
                done += 1

        await asyncio.gather(*map(caller, keys))
        return done / (time.perf_counter() - began)


if __name__ == "__main__":
    print(asyncio.run(rate(sys.argv[1], sys.argv[2], float(sys.argv[3]))))
