"""What is recorded is what happened: every call, its outcome, its time, across processes and kills."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Conflict, InvalidArgument, OutcomeUnknown
from coordstore.model import Append, Check, Delete, Put
from coordstore.testing import Clock, Memory, MemoryStore
from coordstore.testing.history import History, Operation, Recorder, RecordingStore, Ticks, check, load
from coordstore.testing.history.faulty import FaultyStore
from coordstore.testing.history.observing import final_phase
from coordstore.testing.history.record import data, text
from coordstore.testing.history.workload import Shape

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from coordstore.store import CoordStore

pytestmark = [pytest.mark.req("S10")]


@pytest.fixture
async def memory_store() -> AsyncIterator[MemoryStore]:
    async with MemoryStore(clock=Clock()) as store:
        yield store


def recorder_of(store: MemoryStore, path: Path | None = None) -> Recorder:
    return Recorder(path, Ticks(store.clock))


async def test_a_recording_store_is_a_store(memory_store: MemoryStore) -> None:
    recorder = recorder_of(memory_store)
    store: CoordStore = RecordingStore(memory_store, recorder, "c1")
    async with store:
        first = await store.put("a", b"1")
        await store.transact([Put("b", b"2"), Delete("a")], [Check("a", revision=first)], [Append("s", b"3")])
        assert await store.get("a") is None
        assert [entry.key for entry in (await store.list()).entries] == ["b"]
        assert await store.heads() == {"s": 1}
        assert len(await store.read("s")) == 1
        assert (await store.info()).scheme == "memory"
        assert await store.leases() == []
        assert store.statistics()
        await store.compact()
        async with await store.grant(5) as lease:
            await store.create("held", b"4", lease)
            await lease.renew()
        assert await store.delete_prefix("b") == 1
    assert not memory_store.closed
    kinds = [each.kind for each in recorder.operations]
    assert kinds[:6] == ["put", "transact", "get", "list", "heads", "read"]
    assert kinds[6:] == ["compact", "grant", "create", "renew", "revoke", "delete_prefix"]
    assert {each.outcome for each in recorder.operations} == {"ok"}
    assert recorder.operations[1].args == {
        "writes": [["b", "2", None], ["a", None, None]],
        "checks": [["a", first, None]],
        "appends": [["s", "3"]],
        "fence": None,
    }


async def test_outcomes_are_told_apart_and_an_unknown_one_ends_the_client(memory_store: MemoryStore) -> None:
    recorder = recorder_of(memory_store)
    store = RecordingStore(memory_store, recorder, "c1")
    await store.create("a", b"1")
    with pytest.raises(Conflict):
        await store.create("a", b"2")
    blocked = asyncio.create_task(store.put("a", b"3"))
    await asyncio.sleep(0)
    blocked.cancel()
    await asyncio.gather(blocked, return_exceptions=True)
    await store.get("a")
    created, conflict, cut, got = recorder.operations
    assert (created.outcome, created.rev) == ("ok", 1)
    assert (conflict.outcome, conflict.error, conflict.value) == ("failed", "Conflict", {"revisions": {"a": 1}})
    assert (cut.outcome, cut.error, cut.ret_ns) == ("unknown", "CancelledError", None)
    assert (cut.client, got.client) == ("c1.0", "c1.1")
    assert got.call_ns > (conflict.ret_ns or 0) > conflict.call_ns


async def test_an_unknown_outcome_keeps_what_resolves_it() -> None:
    store = FaultyStore(Memory(Clock()), Shape().random("x"), faults=1.0)
    recorder = recorder_of(store)
    store.random.seed(1)
    client = RecordingStore(store, recorder, "c1")
    results = [
        await asyncio.gather(client.transact([Put("a", b"1")], resolvable=True), return_exceptions=True)
        for _ in range(50)
    ]
    unknown = [error.op for (error,) in results if isinstance(error, OutcomeUnknown)]
    assert unknown
    assert all(unknown)
    assert unknown == [each.value["op"] for each in recorder.operations if each.outcome == "unknown"]
    await store.heal()
    await store.aclose()


async def test_one_client_does_one_thing_at_a_time(memory_store: MemoryStore) -> None:
    store = RecordingStore(memory_store, recorder_of(memory_store), "c1")
    first = asyncio.create_task(store.put("a", b"1"))
    await asyncio.sleep(0)
    with pytest.raises(InvalidArgument, match="RecordingStore of its own"):
        await store.put("b", b"2")
    await first


async def test_files_of_several_processes_merge_and_an_open_operation_is_unknown(
    memory_store: MemoryStore, tmp_path: Path
) -> None:
    paths = [tmp_path / "one.jsonl", tmp_path / "two.jsonl"]
    with recorder_of(memory_store, paths[0]) as one, recorder_of(memory_store, paths[1]) as two:
        await RecordingStore(memory_store, one, "c1").put("a", b"\xff\x00")
        await RecordingStore(memory_store, two, "c2").get("a")
        two.begin("c3.0", "c3:1", "put", "a", {"writes": [], "checks": [], "appends": [], "fence": None})
    with paths[1].open("a", encoding="utf-8") as file:
        file.write('{"client":"c4')
    loaded = load(paths)
    assert [str(each) for each in loaded] == [
        str(each) for each in sorted([*one.operations, *two.operations], key=lambda each: each.call_ns)
    ]
    assert loaded[0].value is None
    assert data(loaded[0].args["writes"][0][1]) == b"\xff\x00"
    assert [call.outcome for call in History(loaded).calls] == ["ok", "ok", "unknown"]


def test_a_file_that_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "no.jsonl"
    path.write_text("{}\n{}\n", encoding="utf-8")
    with pytest.raises(InvalidArgument, match=r"no\.jsonl:1"):
        load([path])


def test_any_bytes_survive() -> None:
    every = bytes(range(256))
    assert data(text(every)) == every


async def test_watches_and_follows_are_recorded_as_they_come(memory_store: MemoryStore) -> None:
    recorder = recorder_of(memory_store)
    store = RecordingStore(memory_store, recorder, "c1")
    await store.transact([Put("a", b"1")], appends=[Append("s", b"2")])
    watch = store.watch(since=0)
    assert (await anext(watch)).revision == 1
    await watch.aclose()
    follow = store.follow()
    assert (await anext(follow)).sequence == 1
    await follow.aclose()
    history = History(recorder.operations)
    assert [batch.changes[0].key for batch in history.watches[0].batches] == ["a"]
    assert [record.data for record in history.follows[0].records] == [b"2"]
    assert history.watches[0].source.outcome == "ok"


async def test_the_verdict_names_the_rule_the_operations_and_the_seed(memory_store: MemoryStore) -> None:
    recorder = recorder_of(memory_store)
    recorder.note(seed=42)
    store = RecordingStore(memory_store, recorder, "c1")
    await store.put("a", b"1")
    await store.put("a", b"2")
    await store.get("a")
    await final_phase(memory_store, recorder, Shape(seed=42))
    history = History(recorder.operations)
    assert check(history).ok
    stale = next(call for call in history.calls if call.kind == "get")
    stale.rev, stale.value = 1, ["a", "1", 1, 1, None]
    verdict = check(history)
    assert not verdict
    assert verdict.rules == {"stale read": 1, "not linearizable": 1}
    assert "c1:3 get a" in str(verdict)
    assert "c1:2 put a" in str(verdict)
    assert "seed=42" in str(verdict)


async def test_an_error_that_the_contract_does_not_have_is_a_violation(memory_store: MemoryStore) -> None:
    recorder = recorder_of(memory_store)
    await RecordingStore(memory_store, recorder, "c1").put("a", b"1")
    await final_phase(memory_store, recorder, Shape())
    odd = recorder.begin("c2.0", "c2:1", "put", "b", {**recorder.operations[0].args, "writes": [["b", "x", None]]})
    odd.error = "KeyError"
    recorder.end(odd, "unknown")
    assert check(History(recorder.operations)).rules == {"fourth outcome": 1}


async def test_values_that_are_not_unique_make_a_run_void(memory_store: MemoryStore) -> None:
    recorder = recorder_of(memory_store)
    store = RecordingStore(memory_store, recorder, "c1")
    await store.put("a", b"1")
    await store.put("a", b"1")
    await final_phase(memory_store, recorder, Shape())
    assert any("unique" in reason for reason in check(History(recorder.operations)).void)


def test_an_operation_shows_itself_on_one_line() -> None:
    made = Operation("c1.0", "c1:7", "get", "a", {}, 1, 2, "ok", 3, ["a", "x", 3, 3, None])
    assert str(made) == '[1…2] c1:7 get a {} -> ok @3 ["a","x",3,3,null]'
