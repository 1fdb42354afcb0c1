"""A copy holds everything its source held at one revision, whatever happens to either meanwhile."""

from __future__ import annotations

import asyncio
import random
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.copying import Copy, CopyDiffers, CopyRefused, CopyReport, copy_store
from coordstore.copying.merged import Merged
from coordstore.copying.values import Changes, Cut
from coordstore.errors import CoordError, StoreReplaced
from coordstore.model import Append, Delete, Put
from coordstore.testing import Memory, MemoryStore
from coordstore.testing.suite.topic import put_all

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from coordstore import CoordStore

pytestmark = pytest.mark.req("S11")


PAIRS = [
    ("memory:", "sqlite:{}/target.db"),
    ("sqlite:{}/source.db?durability=process", "file:{}/target?durability=process"),
    ("file:{}/source?durability=process", "memory:"),
]


@pytest.fixture(params=PAIRS, ids=lambda pair: "-".join(url.partition(":")[0] for url in pair))
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    return [url.format(tmp_path) for url in request.param]


@pytest.fixture
async def source(pair: list[str]) -> AsyncIterator[CoordStore]:
    async with open_store(pair[0]) as store:
        yield store


@pytest.fixture
async def target(pair: list[str]) -> AsyncIterator[CoordStore]:
    async with open_store(pair[1]) as store:
        yield store


async def contents(store: CoordStore) -> dict[str, Any]:
    """Return all that a copy is to keep: values, heads, readable records."""
    cut = await store.list()
    kept = (entry for entry in cut.entries if not entry.key.startswith(("@copy", "@ops")) and entry.lease is None)
    values = {entry.key: entry.value for entry in kept}
    streams = {}
    for name, head in (await store.heads()).items():
        async with asyncio.timeout(10):
            first = await first_of(store, name)
            streams[name] = (head, first, [(r.sequence, r.data) for r in await store.read(name, first - 1)])
    return {"keys": values, "streams": streams}


async def first_of(store: CoordStore, stream: str) -> int:
    try:
        await store.read(stream, limit=1)
    except CoordError as gone:
        return int(gone.first)  # type: ignore[attr-defined]  # only Trimmed can be
    return 1


async def fill(store: CoordStore) -> None:
    await put_all(store, *(f"tasks/{number:03}" for number in range(150)))
    await store.delete("tasks/007")
    await store.put("tasks/008", b"\0\xff" * 3000)
    for agent in ("t1.1", "t2.1"):
        for number in range(70):
            await store.transact(
                [Put(f"agents/{agent}/step", b"%d" % number)], appends=[Append(f"events/{agent}", b"%d" % number)]
            )
    await store.append("trimmed", [b"%d" % number for number in range(50)])
    await store.trim("trimmed", 37)
    await store.append("gone", [b"a", b"b", b"c"])
    await store.trim("gone", 3)


# --- at rest -------------------------------------------------------------------------------------------------------


async def test_everything_arrives(source: CoordStore, target: CoordStore) -> None:
    await fill(source)
    report = await copy_store(source, target)
    assert await contents(target) == await contents(source)
    info = await source.info()
    assert (report.revision, report.keys, report.streams, report.records) == (info.revision, 151, 4, 153)
    assert (report.source.store_id, report.resumed, report.leased) == (info.store_id, False, ())


async def test_the_copy_goes_on_as_its_source_would(source: CoordStore, target: CoordStore) -> None:
    await fill(source)
    await copy_store(source, target)
    assert await target.append("trimmed", [b"next"]) == 51
    assert await target.append("gone", [b"next"]) == 4


async def test_the_order_of_events_over_all_streams_is_kept(source: CoordStore, target: CoordStore) -> None:
    for number in range(100):
        await source.append(f"events/t{number % 7}", [b"%d" % number])
    await copy_store(source, target)
    order = []
    async for record in target.follow("events"):
        order.append(int(record.data))
        if len(order) == 100:
            break
    assert order == list(range(100))


async def test_an_empty_store_is_copied(source: CoordStore, target: CoordStore) -> None:
    report = await copy_store(source, target)
    assert (report.keys, report.streams, report.records) == (0, 0, 0)


async def test_equal_contents_have_one_digest(source: CoordStore, target: CoordStore) -> None:
    await fill(source)
    first = await copy_store(source, target)
    async with open_store("memory:") as other:
        assert (await copy_store(target, other)).digest == first.digest
        await source.put("tasks/001", b"changed")
        assert (await copy_store(source, target, resume=True)).digest != first.digest


async def test_progress_is_told_up_to_the_end(source: CoordStore, target: CoordStore) -> None:
    await fill(source)
    told: list[tuple[int, int]] = []
    await copy_store(source, target, progress=lambda done, total: told.append((done, total)))
    assert told == sorted(told)
    assert all(0 <= done <= total for done, total in told)
    assert len({total for _, total in told}) == 1


async def test_a_large_transaction_and_large_values_pass(source: CoordStore, target: CoordStore) -> None:
    await source.transact([Put(f"k/{n}", b"") for n in range(32)], appends=[Append("s", b"%d" % n) for n in range(32)])
    await source.put("big", b"x" * 1024 * 1024)
    await source.append("big", [b"y" * 256 * 1024] * 3)
    await copy_store(source, target)
    assert await contents(target) == await contents(source)


# --- leases --------------------------------------------------------------------------------------------------------


async def test_keys_on_leases_stay_and_are_named(source: CoordStore, target: CoordStore) -> None:
    async with await source.grant(60) as lease:
        await source.put("held", b"1", lease=lease)
        await source.put("free", b"1")
        await source.transact([Put("slot", b"")], resolvable=True)
        report = await copy_store(source, target)
        assert report.leased == ("held",)
        assert sorted((await contents(target))["keys"]) == ["free", "slot"]
        async with open_store("memory:") as other:
            report = await copy_store(source, other, with_leased=True)
            assert (report.leased, report.with_leased) == (("held",), True)
            assert sorted((await contents(other))["keys"]) == ["free", "held", "slot"]
    assert [info.keys for info in await target.leases()] == []


async def test_a_key_that_goes_onto_a_lease_meanwhile_leaves_the_copy(source: CoordStore, target: CoordStore) -> None:
    await put_all(source, "a", "b")
    await copy_store(source, target)
    lease = await source.grant(60)
    await source.put("a", b"", lease=lease)
    await copy_store(source, target, resume=True)
    assert sorted((await contents(target))["keys"]) == ["b"]


# --- refusals ------------------------------------------------------------------------------------------------------


async def test_a_destination_that_is_not_empty_is_refused(source: CoordStore, target: CoordStore) -> None:
    await target.put("mine", b"")
    for resume in (False, True):
        with pytest.raises(CopyRefused, match="mine"):
            await copy_store(source, target, resume=resume)
    await target.delete("mine")
    await target.append("mine", [b""])
    with pytest.raises(CopyRefused, match="mine"):
        await copy_store(source, target)
    assert (await contents(target))["keys"] == {}


async def test_an_earlier_copy_is_refused_without_resume(source: CoordStore, target: CoordStore) -> None:
    await put_all(source, "a")
    await copy_store(source, target)
    with pytest.raises(CopyRefused, match="--resume"):
        await copy_store(source, target)


async def test_a_store_is_not_copied_into_itself(source: CoordStore) -> None:
    with pytest.raises(CopyRefused, match="itself"):
        await copy_store(source, source)


async def test_a_second_copy_into_the_same_destination_waits_then_refuses(
    source: CoordStore, target: CoordStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coordstore.copying.target._PATIENCE", 0.1)
    async with Copy(source, target):
        with pytest.raises(CopyRefused, match="at work"):
            await copy_store(source, target, resume=True)


async def test_what_somebody_else_writes_to_the_destination_is_found(source: CoordStore, target: CoordStore) -> None:
    await fill(source)
    async with Copy(source, target) as copy:
        await target.append("events/t9.1", [b"foreign"])
        await target.put("zz", b"foreign")
        with pytest.raises(CopyDiffers, match=r"stream events/t9\.1"):
            await copy.catch_up()


async def test_what_somebody_else_changes_in_the_destination_is_found(source: CoordStore, target: CoordStore) -> None:
    await fill(source)
    async with Copy(source, target) as copy:
        await copy.catch_up()
        await target.put("tasks/001", b"foreign")
        with pytest.raises(CopyDiffers, match="in key tasks/001:"):
            await copy.catch_up()
        await target.put("tasks/001", b"tasks/001")
        await copy.catch_up()
        await target.drop("trimmed")
        await target.append("trimmed", [b"foreign"] * 50)
        with pytest.raises(CopyDiffers, match="in stream trimmed:"):
            await copy.catch_up()


async def test_a_source_that_was_restored_is_noticed(target: CoordStore) -> None:
    memory = Memory()
    async with MemoryStore(memory) as source:
        await put_all(source, *(f"k/{n}" for n in range(5)))
        await source.put("a", b"")
        await copy_store(source, target)
    old, memory.state = memory.state, type(memory.state)()
    assert old.revision
    async with MemoryStore(memory) as source:
        with pytest.raises(StoreReplaced, match="restored"):
            await copy_store(source, target, resume=True)


# --- going on ------------------------------------------------------------------------------------------------------


async def test_resuming_copies_only_what_changed(source: CoordStore, target: CoordStore) -> None:
    await fill(source)
    first = await copy_store(source, target)
    await source.transact([Put("tasks/001", b"new"), Delete("tasks/002")], appends=[Append("events/t1.1", b"new")])
    await source.trim("events/t2.1", 20)
    await source.drop("gone")
    again = await copy_store(source, target, resume=True)
    assert await contents(target) == await contents(source)
    assert again.resumed
    assert again.copied == 3 < first.copied


async def test_resuming_after_a_compaction_copies_the_keys_again(source: CoordStore, target: CoordStore) -> None:
    await fill(source)
    await copy_store(source, target)
    await source.delete_prefix("tasks")
    await source.put("later", b"")
    await source.compact()
    await copy_store(source, target, resume=True)
    assert await contents(target) == await contents(source)


async def test_a_stream_begun_anew_is_copied_anew(source: CoordStore, target: CoordStore) -> None:
    await source.append("s", [b"old 1", b"old 2", b"old 3"])
    await source.append("t", [b"old 1", b"old 2", b"old 3"])
    await copy_store(source, target)
    for stream, count in (("s", 5), ("t", 2)):
        await source.drop(stream)
        await source.append(stream, [b"new %d" % n for n in range(count)])
    await copy_store(source, target, resume=True)
    assert await contents(target) == await contents(source)


async def test_what_was_changed_in_the_destination_is_repaired_by_resuming(
    source: CoordStore, target: CoordStore
) -> None:
    await fill(source)
    await copy_store(source, target)
    await target.put("tasks/001", b"changed")
    await target.delete("tasks/003")
    await target.put("extra", b"")
    await target.append("extra", [b""])
    await copy_store(source, target, resume=True)
    assert await contents(target) == await contents(source)


@pytest.mark.parametrize("steps", [0, 1, 2, 4, 7])
async def test_a_copy_cut_off_anywhere_goes_on(source: CoordStore, target: CoordStore, steps: int) -> None:
    await fill(source)

    class Cut(Exception):
        pass

    inner: Any = target
    real, left = inner.do_transact, steps

    async def failing(txn: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise Cut
        return await real(txn)

    inner.do_transact = failing
    try:
        with pytest.raises(Cut):
            await copy_store(source, target)
    finally:
        del inner.do_transact
    with_note = [entry.key for entry in (await target.list("@copy")).entries]
    report = await copy_store(source, target, resume=bool(with_note))
    assert report.resumed == bool(with_note)
    assert await contents(target) == await contents(source)


# --- live ----------------------------------------------------------------------------------------------------------


class Busy:
    """Writes to a store at random: keys, records, trims, drops, many keys at once, compactions."""

    def __init__(self, store: CoordStore, seed: int) -> None:
        self.store = store
        self.random = random.Random(seed)
        self.done = 0

    async def step(self) -> None:
        name, number = f"n{self.random.randrange(12)}", self.random.randrange(1000)
        self.done += 1
        match self.random.randrange(20):
            case 0:
                await self.store.delete_prefix(f"k/{name}")
            case 1:
                await self.store.drop(f"s/{name}")
            case 2 | 3:
                heads = await self.store.heads(f"s/{name}")
                await self.store.trim(f"s/{name}", heads.get(f"s/{name}", 0) - self.random.choice([0, 0, 1, 2]))
            case 4:
                await self.store.compact(self.random.randrange(4))
            case 5:
                await put_all(self.store, *(f"k/{name}/{n}" for n in range(90)))
            case _:
                await self.store.transact(
                    [Put(f"k/{name}/{number % 5}", b"%d" % number)],
                    appends=[Append(f"s/{name}", b"%d" % self.done)] * self.random.randrange(4),
                )

    async def work(self, count: int) -> None:
        for _ in range(count):
            try:
                await self.step()
            except ValueError:  # a trim below zero
                continue


@pytest.mark.parametrize("seed", range(3))
async def test_a_store_at_work_is_copied_as_it_stood_at_one_revision(
    source: CoordStore, target: CoordStore, seed: int
) -> None:
    busy = Busy(source, seed)
    await busy.work(60)
    writing = asyncio.create_task(busy.work(200))
    async with asyncio.timeout(100), Copy(source, target) as copy:
        reports = [await copy.catch_up() for _ in range(3)]
        await writing
        reports.append(await copy.catch_up())
    assert [report.revision for report in reports] == sorted(report.revision for report in reports)
    assert await contents(target) == await contents(source)


async def test_a_stream_begun_anew_that_has_not_come_as_far_again_is_noticed(
    source: CoordStore, target: CoordStore
) -> None:
    await source.append("s", [b"%d" % number for number in range(13)])
    async with asyncio.timeout(100), Copy(source, target) as copy:
        await copy.catch_up()
        await source.drop("s")
        await source.append("s", [b"anew"] * 3)
        await copy.catch_up()
        assert await target.heads() == {"s": 3}
        await source.drop("s")
        await copy.catch_up()
        assert await target.heads() == {}
    assert await contents(target) == await contents(source)


@asynccontextmanager
async def following(copy: Copy, told: Callable[[int], None]) -> AsyncIterator[None]:
    task = asyncio.create_task(copy.follow(told))
    yield
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_following_brings_what_comes(source: CoordStore, target: CoordStore) -> None:
    reached: asyncio.Queue[int] = asyncio.Queue()
    async with asyncio.timeout(30), Copy(source, target) as copy:
        assert isinstance(await copy.catch_up(), CopyReport)
        async with following(copy, reached.put_nowait):
            await Busy(source, 7).work(100)
            revision = await source.transact([Put("last", b"")], appends=[Append("last", b"")])
            while await reached.get() < revision:
                pass
            assert await target.get("last")
        await copy.catch_up()
    assert await contents(target) == await contents(source)


async def test_keys_and_records_of_one_transaction_are_one_step(source: CoordStore) -> None:
    position = await source.put("before", b"")
    await source.append("s", [b"alone"])
    await source.transact([Put("a", b"1"), Put("b", b"1")], appends=[Append("s", b"with them"), Append("t", b"too")])
    await source.delete("a")
    merged = Merged(source, with_leased=False, position=position, told={"before": position})
    async with aclosing(merged), aclosing(merged.steps(await Cut.of(source, with_leased=False))) as steps:
        made = [step async for step in steps if isinstance(step, Changes)]
    told = [(step.writes, [record.data for record in step.records]) for step in made]
    assert told == [({}, [b"alone"]), ({"a": b"1", "b": b"1"}, [b"with them", b"too"]), ({"a": None}, [])]


async def test_a_transaction_of_the_source_is_one_in_the_copy(source: CoordStore, target: CoordStore) -> None:
    async with asyncio.timeout(30), Copy(source, target) as copy:
        await copy.catch_up()
        reached: asyncio.Queue[int] = asyncio.Queue()
        async with following(copy, reached.put_nowait):
            revision = 0
            for number in range(20):
                revision = await source.transact(
                    [Put("a", b"%d" % number), Put("b", b"%d" % number)], appends=[Append("s", b"%d" % number)]
                )
            while await reached.get() < revision:
                pass
        a, b = await target.get("a"), await target.get("b")
        last = (await target.read("s"))[-1]
        assert a is not None
        assert b is not None
        assert a.revision == b.revision == last.revision
