"""Conformance, cancellation: a cancelled write happened whole or not at all, and the store stays usable."""
# ruff: noqa: D102  (the names of the tests are their sentences)

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Conflict
from coordstore.model import Append, Check, Delete, Put
from coordstore.testing.suite.topic import Topic, keys_of, together

if TYPE_CHECKING:
    from coordstore.store import CoordStore

__all__ = ["CancellationTests"]

TURNS = (*range(12), 20, 40)
"""After how many turns of the event loop an operation is cancelled."""


async def _cancelled_after(turns: int, work: asyncio.Future[int]) -> int | None:
    """Cancel work after some turns of the loop; return its result, or None when the cancellation went through."""
    for _ in range(turns):
        await asyncio.sleep(0)
    work.cancel()
    try:
        return await work
    except asyncio.CancelledError:
        return None


class CancellationTests(Topic):
    """Cancelling operations at any moment."""

    async def test_a_write_cancelled_before_it_began_is_not_applied(self, store: CoordStore) -> None:
        assert await _cancelled_after(0, asyncio.ensure_future(store.put("a", b"1"))) is None
        assert await store.get("a") is None

    async def test_a_cancelled_transaction_happened_whole_or_not_at_all(self, store: CoordStore) -> None:
        for turn, turns in enumerate(TURNS):
            gone, made, stream = f"{turn}/gone", f"{turn}/made", f"s/{turn}"
            await store.put(gone, b"")
            work = store.transact([Delete(gone), Put(made, b"")], appends=[Append(stream, b"1"), Append(stream, b"2")])
            revision = await _cancelled_after(turns, asyncio.ensure_future(work))
            await self.soon(store.put("usable", b""))
            before, keys, after = (
                await store.heads(stream),
                keys_of(await store.list(str(turn))),
                await store.heads(stream),
            )
            assert keys in ([made], [gone])
            assert (after if keys == [made] else before) == ({stream: 2} if keys == [made] else {})
            if revision is not None:
                entry = await store.get(made)
                assert entry is not None
                assert entry.revision == revision

    async def test_cancelled_appends_leave_no_gap_and_nothing_twice(self, store: CoordStore) -> None:
        acknowledged = {}
        for turns in TURNS:
            data = b"%d" % turns
            sequence = await _cancelled_after(turns, asyncio.ensure_future(store.append("s", [data])))
            if sequence is not None:
                acknowledged[sequence] = data
        head = await self.soon(store.append("s", [b"last"]))
        records = await store.read("s")
        assert [record.sequence for record in records] == list(range(1, len(records) + 1))
        assert len({record.data for record in records}) == len(records) >= head
        assert acknowledged.items() <= {record.sequence: record.data for record in records}.items()

    async def test_cancelling_some_of_many_leaves_the_others_alone(self, store: CoordStore) -> None:
        work = [asyncio.ensure_future(store.put(f"a/{n:02}", b"")) for n in range(60)]
        await asyncio.sleep(0)
        for task in work[::3]:
            task.cancel()
        results = await self.soon(asyncio.gather(*work, return_exceptions=True))
        kept = {f"a/{n:02}" for n, result in enumerate(results) if isinstance(result, int)}
        assert {f"a/{n:02}" for n in range(60) if n % 3} <= kept
        assert all(isinstance(result, int | asyncio.CancelledError) for result in results)
        assert kept <= set(keys_of(await store.list("a")))

    @pytest.mark.parametrize("seed", range(3))
    async def test_a_storm_of_cancels_keeps_a_counter_true_to_what_was_acknowledged(
        self, store: CoordStore, other: CoordStore, seed: int
    ) -> None:
        chance = random.Random(seed)  # noqa: S311  (a seeded schedule, no secret)

        async def increment(handle: CoordStore, mark: str) -> int:
            entry = await handle.get("counter")
            value, revision = (int(entry.value), entry.revision) if entry else (0, 0)
            return await handle.transact(
                [Put("counter", b"%d" % (value + 1)), Put(f"mark/{mark}", b"")],
                checks=[Check("counter", revision=revision)],
                appends=[Append("log", mark.encode())],
            )

        acknowledged: set[str] = set()

        async def worker(name: int) -> None:
            for number in range(8):
                mark = f"{name}-{number}"
                work = asyncio.ensure_future(increment((store, other)[name % 2], mark))
                try:
                    if await _cancelled_after(chance.randrange(30), work) is not None:
                        acknowledged.add(mark)
                except Conflict:
                    continue

        await together(*(worker(name) for name in range(6)))
        before = [record.data.decode() for record in await store.read("log")]
        cut = {entry.key: entry for entry in (await store.list()).entries}
        after = [record.data.decode() for record in await store.read("log")]
        marks = {key.removeprefix("mark/") for key in cut if key != "counter"}
        assert int(cut["counter"].value if cut else b"0") == len(marks)
        assert acknowledged <= marks
        assert len(set(after)) == len(after)
        assert set(before) <= marks <= set(after), "what was cancelled may still land, but only whole"

    async def test_cancelled_reads_leave_nothing_behind(self, store: CoordStore) -> None:
        await store.transact([Put("a", b"1")], appends=[Append("s", b"1")])
        for turns in TURNS:
            for reading in (store.get("a"), store.list(), store.read("s"), store.heads(), store.leases(), store.info()):
                task = asyncio.ensure_future(reading)
                await _cancelled_after(turns, task)  # type: ignore[arg-type]  # the result is not looked at
        assert (await self.soon(store.list())).entries == [await store.get("a")]
        await self.soon(store.put("a", b"2"))

    async def test_a_cancelled_grant_or_revoke_leaves_the_store_usable(self, store: CoordStore) -> None:
        for turns in TURNS:
            granting = asyncio.ensure_future(store.grant(3600))
            await _cancelled_after(turns, granting)  # type: ignore[arg-type]  # the result is not looked at
            lease = await self.soon(store.grant(3600))
            await store.put("a", b"", lease=lease)
            await _cancelled_after(turns, asyncio.ensure_future(lease.revoke()))  # type: ignore[arg-type]  # likewise
            await self.soon(lease.revoke())
            assert await self.soon(store.get("a")) is None

    async def test_cancelling_the_body_of_a_lease_revokes_it_and_goes_through(self, store: CoordStore) -> None:
        held = asyncio.Event()

        async def hold() -> None:
            async with await store.grant(3600) as lease:
                await store.put("a", b"", lease=lease)
                held.set()
                await asyncio.Event().wait()

        holding = asyncio.ensure_future(hold())
        await self.soon(held.wait())
        holding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.soon(holding)
        assert await store.get("a") is None
        assert await store.leases() == []

    async def test_a_deadline_on_an_operation_leaves_the_store_usable(self, store: CoordStore) -> None:
        for delay in (0, 0.0001, 0.001, 0.005):
            try:
                async with asyncio.timeout(delay):
                    for number in range(1000):
                        await store.put("a", b"%d" % number)
            except TimeoutError:
                pass
            await self.soon(store.put("b", b""))
