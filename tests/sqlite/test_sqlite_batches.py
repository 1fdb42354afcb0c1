"""Group commit in the store: who shares a batch, who is dropped from it, and what a refusal leaves alone."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.errors import Conflict, LeaseLost, StoreClosed
from coordstore.hostkit import StoreLock
from coordstore.model import Append, Check, Delete, Put
from coordstore.url import StoreURL
from coordstore_sqlite.store import open_sqlite

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@asynccontextmanager
async def locked(path: Path) -> AsyncIterator[None]:
    """Hold the store's lock, as another writer does, so that a batch stands still after it was sealed."""
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with StoreLock(Path(f"{path}-lock"), 5).held():
            held.set()
            done.wait()

    holding = asyncio.ensure_future(asyncio.to_thread(hold))
    await asyncio.to_thread(held.wait)
    try:
        yield
    finally:
        done.set()
        await holding


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_callers_at_once_share_commits(url: str) -> None:
    async with open_store(url) as store:
        revisions = await asyncio.gather(*(store.put(f"a/{number}", b"x") for number in range(64)))
        assert sorted(revisions) == list(range(1, 65))
        assert store.statistics()["commits"] <= 3
        assert store.statistics()["largest_batch"] >= 32


@pytest.mark.req("S5")
async def test_cancelled_before_its_batch_is_sealed_means_not_applied(url: str, path: Path) -> None:
    async with open_store(url) as store:
        async with locked(path):
            first = asyncio.ensure_future(store.put("first", b"1"))
            await turns()
            second = asyncio.ensure_future(store.put("second", b"1"))
            await turns()
            second.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await second
        assert await first == 1
        assert await store.put("third", b"1") == 2
        assert [entry.key for entry in (await store.list()).entries] == ["first", "third"]


@pytest.mark.req("S5")
async def test_cancelled_after_its_batch_was_sealed_lands_whole(url: str, path: Path) -> None:
    async with open_store(url) as store:
        async with locked(path):
            writing = asyncio.ensure_future(
                store.transact([Put("a", b"1"), Put("b", b"1")], appends=[Append("s", b"1")])
            )
            await turns()
            writing.cancel()
            with pytest.raises(asyncio.CancelledError):
                await writing
        assert await store.put("c", b"1") == 2
        assert [(entry.key, entry.revision) for entry in (await store.list()).entries] == [("a", 1), ("b", 1), ("c", 2)]
        assert len(await store.read("s")) == 1


@pytest.mark.req("S5")
async def test_a_request_that_is_refused_leaves_the_rest_of_its_batch_alone(url: str, path: Path) -> None:
    async with open_store(url) as store:
        lease = await store.grant(60)
        await lease.revoke()
        async with locked(path):
            opener = asyncio.ensure_future(store.put("opener", b""))
            await turns()
            answers = asyncio.gather(
                store.put("a", b"1", expect=0),
                store.transact([Put("a", b"2")], checks=[Check("a", revision=0)], appends=[Append("s", b"")]),
                store.put("y", b"", lease=lease),
                store.delete("a"),
                store.create("a", b"3"),
                store.transact([Delete("z")]),
                store.append("s", [b"1", b"2"]),
                store.delete_prefix("opener"),
                store.append("s", [b"3"]),
                return_exceptions=True,
            )
            await turns()
        assert await opener == 1
        put, conflict, lost, deleted, created, nothing, twice, prefix, third = await answers
        assert (put, deleted, created, nothing, twice, prefix, third) == (2, True, 4, 4, 2, 1, 3)
        assert isinstance(conflict, Conflict)
        assert conflict.revisions == {"a": 2}
        assert isinstance(lost, LeaseLost)
        entries = (await store.list()).entries
        assert [(entry.key, entry.value, entry.create_revision) for entry in entries] == [("a", b"3", 4)]
        assert [record.revision for record in await store.read("s")] == [5, 5, 7]
        assert store.statistics()["batches"] <= 4


async def test_closing_refuses_what_waits_and_finishes_what_was_sealed(url: str, path: Path) -> None:
    store = await open_sqlite(StoreURL.parse(url))
    async with locked(path):
        sealed = asyncio.ensure_future(store.put("sealed", b""))
        await turns()
        waiting = asyncio.ensure_future(store.put("waiting", b""))
        await turns()
        closing = asyncio.ensure_future(store.aclose())
        with pytest.raises(StoreClosed):
            await waiting
    await closing
    assert await sealed == 1
    async with open_store(url) as again:
        assert [entry.key for entry in (await again.list()).entries] == ["sealed"]


async def test_a_storm_of_cancellations_leaves_a_true_counter(url: str) -> None:
    async with open_store(url) as store:
        sure = 0

        async def increment() -> None:
            nonlocal sure
            while True:
                entry = await store.get("n")
                with contextlib.suppress(Conflict):
                    await store.transact(
                        [Put("n", b"%d" % (int(entry.value) + 1 if entry else 1))],
                        checks=[Check("n", revision=entry.revision if entry else 0)],
                        appends=[Append("s", b"")],
                    )
                    sure += 1

        for number in range(40):
            tasks = [asyncio.ensure_future(increment()) for _ in range(5)]
            await turns(number)
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        await store.put("last", b"")
        entry = await store.get("n")
        counted = int(entry.value) if entry else 0
        assert counted == (await store.heads()).get("s", 0) >= sure


@pytest.mark.req("S13")
async def test_history_is_bounded_without_being_asked(url: str, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coordstore_sqlite.writer.HISTORY", 100)
    async with open_store(url) as store:
        for _ in range(30):
            await asyncio.gather(*(store.put(f"a/{number}", b"x") for number in range(20)))
        info = await store.info()
    assert info.revision == 600
    assert 400 <= info.floor <= 500
    with closing(sqlite3.connect(path)) as database:
        rows, lowest = database.execute("SELECT count(*), min(revision) FROM changes").fetchone()
    assert rows <= 200
    assert lowest == info.floor + 1


@pytest.mark.req("S13")
async def test_the_log_is_checkpointed_when_it_has_grown(url: str, path: Path) -> None:
    async with open_store(url) as store:
        for number in range(20):
            await store.put(f"a/{number}", b"x" * 1_000_000)
        assert store.statistics()["checkpoints"] >= 2
        assert Path(f"{path}-wal").stat().st_size < 20_000_000
