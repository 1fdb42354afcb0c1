"""The blocking facade does what the asynchronous store does, from any thread, and refuses where it must not block."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, assert_type

import pytest

from coordstore import sync
from coordstore.errors import Conflict, ForkRefused, InvalidArgument, InvalidKey, LeaseLost, StoreClosed, Unavailable
from coordstore.model import Append, Batch, Check, Entry, Put, Record
from coordstore.store import CoordStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.req("S1")

PATIENCE = 20.0
RENAMED = {"aclose": "close"}
OWN = {"run", "close", "aclose"}


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"memory:{tmp_path}" if request.param == "memory" else f"sqlite:{tmp_path}/store.db"


@pytest.fixture
def store(url: str) -> Iterator[sync.Store]:
    with sync.open_store(url) as store:
        yield store


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("coordstore-sync")]


# --- the same ------------------------------------------------------------------------------------------------------


def test_it_has_every_method_of_the_protocol_with_the_same_parameters() -> None:
    methods = {name: value for name, value in vars(CoordStore).items() if inspect.isfunction(value)}
    public = {name: value for name, value in methods.items() if not name.startswith("_")}
    for name, method in public.items():
        mine = getattr(sync.Store, name)
        assert not inspect.iscoroutinefunction(mine)
        assert inspect.signature(mine).parameters.keys() == inspect.signature(method).parameters.keys(), name
        assert inspect.getdoc(mine), name
    assert {name for name in vars(sync.Store) if not name.startswith("_")} == {*public, *OWN}


def test_its_types_are_those_of_the_protocol(store: sync.Store) -> None:
    assert_type(store.get("a"), Entry | None)
    assert_type(store.put("a", b"", expect=0), int)
    assert_type(store.heads(), dict[str, int])
    assert_type(store.watch("a"), sync.Feed[Batch])
    with store.follow() as records:
        assert_type(records, sync.Feed[Record])
    assert_type(store.grant(5), sync.Lease)


def test_keys_and_streams(store: sync.Store) -> None:
    revision = store.transact([Put("a/1", b"1"), Put("a/2", b"2")], appends=[Append("s", b"x")])
    assert store.get("a/1") == Entry("a/1", b"1", revision, revision)
    assert [entry.key for entry in store.list("a", limit=1).entries] == ["a/1"]
    assert store.append("s", [b"y", b"z"]) == 3
    assert [record.data for record in store.read("s", after=1)] == [b"y", b"z"]
    store.trim("s", 2)
    assert store.heads("s") == {"s": 3}
    store.drop("s")
    assert store.heads() == {}
    with pytest.raises(Conflict) as caught:
        store.transact([Put("b", b"")], [Check("a/1", revision=0)])
    assert caught.value.revisions == {"a/1": revision}
    assert store.delete("a/1") is True
    assert store.delete_prefix("a") == 1
    assert store.compact() == store.info().floor
    assert store.statistics()


def test_a_resolvable_transaction_and_its_resolution(store: sync.Store) -> None:
    assert store.transact([Put("a", b"1")], resolvable=True) == store.info().revision
    with pytest.raises(InvalidArgument):
        store.resolve("nonsense")


def test_what_has_no_blocking_form_runs_on_the_stores_thread(store: sync.Store) -> None:
    async def double(inner: CoordStore, key: str) -> int:
        await inner.put(key, b"1")
        return await inner.put(key, b"2")

    assert store.run(double, "a") == store.info().revision


def test_opening_fails_with_the_error_and_leaves_no_thread(tmp_path: Path) -> None:
    for url, kind in (("nothing:here", InvalidArgument), (f"sqlite:{tmp_path}/x?durability=odd", InvalidArgument)):
        with pytest.raises(kind):
            sync.open_store(url)
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(Unavailable):
        sync.open_store(f"sqlite:{tmp_path}/link/store.db")
    for thread in threading.enumerate():
        if thread.name.startswith("coordstore-sync"):
            thread.join(PATIENCE)
    assert threads() == []


# --- watch and follow ----------------------------------------------------------------------------------------------


def test_a_watch_is_an_iterator(store: sync.Store) -> None:
    store.put("a", b"1")
    with store.watch("a") as batches:
        assert next(batches).reset
        store.put("a", b"2")
        assert [change.key for change in next(batches).changes] == ["a"]
    assert list(batches) == []


def test_a_follow_is_an_iterator(store: sync.Store) -> None:
    store.append("s", [b"1", b"2"])
    with store.follow(after={"s": 1}) as records:
        assert next(records).data == b"2"


def test_arguments_are_checked_at_the_call(store: sync.Store) -> None:
    with pytest.raises(InvalidKey):
        store.watch("No Key")


def test_a_timeout_loses_nothing(store: sync.Store) -> None:
    with store.watch() as batches:
        batches.next()
        with pytest.raises(TimeoutError):
            batches.next(timeout=0.01)
        store.put("a", b"1")
        assert batches.next(timeout=PATIENCE).changes[0].key == "a"


def test_breaking_out_of_a_loop_closes_the_watch(store: sync.Store) -> None:
    ended = threading.Event()
    inner: Any = store._inner
    real = inner.do_watch

    async def noted(prefix: str, since: int | None) -> Any:
        try:
            async for batch in real(prefix, since):
                yield batch
        finally:
            ended.set()

    inner.do_watch = noted
    for _ in store.watch():
        break
    gc.collect()
    assert ended.wait(PATIENCE)


def test_a_feed_that_nobody_refers_to_ends_also_while_its_item_is_pending(store: sync.Store) -> None:
    batches = store.watch()
    batches.next()
    with pytest.raises(TimeoutError):
        batches.next(timeout=0.01)
    task = batches._pump._task
    assert task
    del batches
    gc.collect()

    async def over(_: CoordStore) -> None:
        await asyncio.wait([task])

    store.run(over)


def test_a_watch_and_a_lease_hold_their_store(url: str) -> None:
    store = sync.open_store(url)
    batches, lease = store.watch(), store.grant(60)
    holder = [store]
    del store
    holder.clear()
    gc.collect()
    assert batches.next().complete
    assert not lease.lost
    batches._store.close()


def test_an_item_that_was_on_its_way_when_an_interrupt_came_is_given_again(store: sync.Store) -> None:
    batches = store.watch()
    first = store.run(lambda _: batches._pump.take(0, None))
    assert batches.next() is first
    store.put("a", b"1")
    assert batches.next() is not first
    batches.close()


def test_closing_a_watch_ends_the_thread_that_waits_for_it(store: sync.Store) -> None:
    batches = store.watch()
    batches.next()
    waiting = threading.Event()

    def consume() -> list[Batch]:
        waiting.set()
        return list(batches)

    with ThreadPoolExecutor() as pool:
        rest = pool.submit(consume)
        assert waiting.wait(PATIENCE)
        batches.close()
        assert rest.result(PATIENCE) == []


def test_closing_the_store_ends_a_watch_with_an_error(url: str) -> None:
    with ThreadPoolExecutor() as pool:
        with sync.open_store(url) as store:
            batches = store.watch()
            batches.next()
            rest = pool.submit(batches.next)
            while batches._pump._task is None:
                pass
        with pytest.raises(StoreClosed):
            rest.result(PATIENCE)


# --- leases --------------------------------------------------------------------------------------------------------


def test_a_lease_is_kept_alive_while_its_holder_computes(store: sync.Store) -> None:
    with store.grant(2) as lease:
        store.put("held", b"", lease=lease)
        first = lease.deadline
        assert not lease.wait_lost(timeout=2.5)
        assert lease.deadline > first
        assert store.get("held")
        assert [info.id for info in store.leases()] == [lease.id]
    assert lease.lost
    assert store.get("held") is None


def test_a_lease_that_nobody_renews_is_lost(store: sync.Store) -> None:
    lease = store.grant(2)
    assert not lease.lost
    lease.renew()
    assert lease.wait_lost(PATIENCE)
    with pytest.raises(LeaseLost):
        lease.renew()


def test_a_revoked_lease_and_one_of_a_closed_store_are_lost(url: str) -> None:
    with sync.open_store(url) as store:
        lease, other = store.grant(60), store.grant(60)
        lease.revoke()
        assert lease.lost
        assert not other.lost
        with other:
            store.close()
    assert other.lost


# --- threads, interrupts, forks, loops -----------------------------------------------------------------------------


def test_many_threads_share_a_store(store: sync.Store) -> None:
    with ThreadPoolExecutor(16) as pool:
        last = list(pool.map(lambda number: store.append("s", [b"%d" % number]), range(200)))
    assert sorted(last) == list(range(1, 201))


def test_every_call_on_a_closed_store_says_so(url: str) -> None:
    store = sync.open_store(url)
    store.close()
    store.close()
    for call in (lambda: store.get("a"), store.watch, lambda: store.grant(5), store.info):
        with pytest.raises(StoreClosed):
            call()
    assert threads() == []


def test_calls_that_race_with_the_close_end(url: str) -> None:
    store = sync.open_store(url)
    started = threading.Barrier(9)

    def work() -> str:
        started.wait()
        try:
            while True:
                store.put("a", b"")
        except Unavailable as error:
            return type(error).__name__

    with ThreadPoolExecutor(8) as pool:
        ends = [pool.submit(work) for _ in range(8)]
        started.wait()
        store.close()
        assert {end.result(PATIENCE) for end in ends} == {"StoreClosed"}


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Return what interrupts the main thread once, as Ctrl-C does.

    A signal that comes in the moment before a wait begins is noticed by Python when the wait ends: so it is sent again
    until it was, as a person would press the keys again.
    """
    struck = threading.Event()

    def once(*_: object) -> None:
        if not struck.is_set():
            struck.set()
            raise KeyboardInterrupt

    def strike() -> None:
        while not struck.is_set():
            os.kill(os.getpid(), signal.SIGINT)
            struck.wait(0.1)

    before = signal.signal(signal.SIGINT, once)
    striker = threading.Thread(target=strike)
    yield striker.start
    striker.join()
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_cancels_the_call_and_leaves_the_store_usable(
    store: sync.Store, interrupt: Callable[[], None]
) -> None:
    ended: list[str] = []
    done = threading.Event()

    async def for_ever(_: CoordStore) -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        finally:
            done.set()

    with pytest.raises(KeyboardInterrupt):
        store.run(for_ever)
    assert done.wait(PATIENCE)
    assert ended == ["cancelled"]
    assert store.put("a", b"1") == store.info().revision


def test_an_interrupted_watch_goes_on_where_it_was(store: sync.Store, interrupt: Callable[[], None]) -> None:
    with store.watch() as batches:
        batches.next()

        def strike() -> None:
            while batches._pump._task is None:
                time.sleep(0)
            interrupt()

        striker = threading.Thread(target=strike)
        striker.start()
        with pytest.raises(KeyboardInterrupt):
            batches.next()
        striker.join()
        store.put("a", b"1")
        assert batches.next().changes[0].key == "a"


def test_a_forked_child_is_refused_and_ends(store: sync.Store) -> None:
    lease = store.grant(60)
    batches = store.watch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of forks beside threads
        child = os.fork()
    if child == 0:
        os._exit(0 if refuses(store, lease, batches) else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert store.put("a", b"1")


def refuses(store: sync.Store, lease: sync.Lease, batches: sync.Feed[Batch]) -> bool:
    """Tell whether everything refuses in a child, and closing does nothing there."""
    try:
        for call in (lambda: store.get("a"), store.watch, lease.renew, batches.next, lease.revoke):
            try:
                call()
            except ForkRefused:
                continue
            return False
        batches.close()
        store.close()
    except BaseException:  # noqa: BLE001  (in the child only the verdict counts)
        return False
    return lease.lost


def test_a_thread_with_a_running_loop_is_refused(store: sync.Store, url: str) -> None:
    async def inside() -> None:
        with pytest.raises(sync.InsideEventLoop, match="await"):
            store.get("a")
        with pytest.raises(sync.InsideEventLoop):
            sync.open_store(url)
        assert await asyncio.to_thread(store.put, "a", b"1")

    asyncio.run(inside())


def test_a_call_from_the_stores_own_thread_is_refused_and_does_not_hang(store: sync.Store) -> None:
    async def inside(_: CoordStore) -> None:
        store.get("a")

    with pytest.raises(sync.InsideEventLoop):
        store.run(inside)


NOTEBOOK = """
import asyncio, sys, types
from coordstore import sync

async def cell():
    with sync.open_store("memory:") as store:
        print(store.put("a", b"1"))

sys.modules["ipykernel"] = types.ModuleType("ipykernel")
asyncio.run(cell())
del sys.modules["ipykernel"]
try:
    asyncio.run(cell())
except sync.InsideEventLoop:
    print("refused")
"""


def test_the_cells_of_a_notebook_may_block() -> None:
    done = subprocess.run([sys.executable, "-c", NOTEBOOK], capture_output=True, text=True, timeout=30, check=False)
    assert (done.stdout, done.stderr) == ("1\nrefused\n", "")


def test_a_store_that_was_never_closed_warns_and_its_thread_ends(url: str) -> None:
    store = sync.open_store(url)
    thread = store._thread._thread
    holder = [store]
    del store
    with pytest.warns(ResourceWarning, match="never closed"):
        holder.clear()
    thread.join(PATIENCE)
    assert not thread.is_alive()
