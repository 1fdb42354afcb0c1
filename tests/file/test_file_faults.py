"""Failing I/O, one call at a time: the right outcome, nothing acknowledged is lost, and the store works on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import os
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.errors import CoordError, LeaseLost, OutcomeUnknown, Unavailable
from coordstore.model import Append, Put

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordstore import CoordStore


STEP = 1 if os.environ.get("COORD_FAULTS") == "full" else 7
"""Every call fails in a full run; one in so many otherwise, and which ones COORD_FAULT_SEED tells."""
SEED = int(os.environ.get("COORD_FAULT_SEED", "1"))


class Ledger:
    """What a run was told of its writes: acknowledged, refused, or nothing certain."""

    def __init__(self) -> None:
        self.acknowledged: set[int] = set()
        self.refused: set[int] = set()
        self.errors: list[CoordError] = []

    async def write(self, store: CoordStore, number: int) -> None:
        writes = [Put(f"k/{number}/one", b"%d" % number), Put(f"k/{number}/two", b"%d" % number)]
        try:
            await store.transact(writes, appends=[Append("s", b"%d" % number), Append(f"t/{number % 2}", b"")])
            self.acknowledged.add(number)
        except OutcomeUnknown as error:
            self.errors.append(error)
        except Unavailable as error:
            self.refused.add(number)
            self.errors.append(error)

    async def check(self, store: CoordStore) -> None:
        keys = {entry.key for entry in (await store.list("k", keys_only=True)).entries}
        records = await store.read("s")
        found = {int(record.data) for record in records}
        assert keys == {f"k/{number}/{half}" for number in found for half in ("one", "two")}, "all or nothing"
        assert self.acknowledged <= found, "what was acknowledged is there"
        assert not self.refused & found, "what was refused is not there"
        assert [record.sequence for record in records] == list(range(1, len(records) + 1))
        assert len(found) == len(records)
        async with asyncio.timeout(20), contextlib.aclosing(store.follow("s")) as feed:
            assert [await anext(feed) for _ in records] == records


async def run(opened: Callable[..., Any], fs: Any, ledger: Ledger, numbers: Any) -> None:
    """Write, compact and write on; whatever fails, fails as the library's error."""
    with contextlib.suppress(CoordError):
        async with opened(fs) as store:
            for number in itertools.islice(numbers, 3):
                await ledger.write(store, number)
            with contextlib.suppress(Unavailable):
                await store.compact()
            await asyncio.gather(*(ledger.write(store, number) for number in itertools.islice(numbers, 4)))
            with contextlib.suppress(Unavailable):
                await store.compact(keep=2)
            for number in itertools.islice(numbers, 2):
                await ledger.write(store, number)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("error", "once", "partly"),
    [(errno.EIO, True, False), (errno.ENOSPC, True, True), (errno.ENOSPC, False, True), (errno.EIO, False, False)],
    ids=["EIO once", "ENOSPC once", "ENOSPC for ever", "EIO for ever"],
)
async def test_every_failing_call_leaves_what_was_promised(
    path: Path, opened: Callable[..., Any], faulty: Any, error: int, once: bool, partly: bool
) -> None:
    probe = faulty()
    await run(opened, probe, Ledger(), itertools.count())
    total = len(probe.calls)
    assert total > 60
    for at in range(1 + SEED % STEP, total + 1, STEP):
        await asyncio.to_thread(remove, path)
        ledger, numbers = Ledger(), itertools.count()
        fs = faulty(at, error, once=once, partly=partly)
        await run(opened, fs, ledger, numbers)
        where = f"call {at} of {total}: {fs.calls[at - 1] if len(fs.calls) >= at else 'not reached'}"
        try:
            async with opened() as store:
                await ledger.check(store)
                await ledger.write(store, 1000)
                await store.compact()
                await ledger.check(store)
            assert 1000 in ledger.acknowledged
        except BaseException as problem:
            problem.add_note(where)
            raise


def remove(path: Path) -> None:
    import shutil

    if path.exists():
        shutil.rmtree(path)


async def test_after_a_failed_sync_the_outcome_is_unknown_and_the_log_goes_on_in_a_new_segment(
    path: Path, opened: Callable[..., Any], faulty: Any
) -> None:
    fs = faulty(only=("fdatasync",))
    async with opened(fs) as store, opened() as other:
        await store.put("a", b"1")
        fs.at = len(fs.calls) + 1
        with pytest.raises(OutcomeUnknown):
            await store.put("a", b"2")
        entry = await other.get("a")
        assert entry is not None
        assert entry.value == b"1"
        await other.put("b", b"3")
        assert max(file.name for file in (path / ".coord/log").iterdir()) == "000000000002"
        assert [entry.key for entry in (await store.list()).entries] == ["a", "b"]
        await store.put("a", b"4")
    async with opened() as store:
        assert {entry.key: entry.value for entry in (await store.list()).entries} == {"a": b"4", "b": b"3"}


async def test_a_failed_sync_that_cannot_even_be_noted_stays_with_this_handle(
    path: Path, opened: Callable[..., Any], faulty: Any
) -> None:
    fs = faulty(only=("fdatasync", "truncate", "write_all"))
    async with opened(fs) as store:
        await store.put("a", b"1")
        # The sync, then the cut and the note about it.
        fs.at, fs.once, fs.error = len(fs.calls) + 2, False, errno.EIO
        with pytest.raises(OutcomeUnknown):
            await store.put("a", b"2")
        with pytest.raises(CoordError):
            await store.put("a", b"3")
        fs.at = 0
        await store.put("b", b"4")
        entry = await store.get("b")
        assert entry is not None
        assert max(file.name for file in (path / ".coord/log").iterdir()) == "000000000002", "no second sync is trusted"
    async with opened() as store:
        assert await store.get("b") == entry
        kept = await store.get("a")
        assert kept is not None
        assert kept.value == b"1"


async def test_a_revoked_lease_whose_keys_could_not_be_removed_is_no_refusal(
    opened: Callable[..., Any], faulty: Any
) -> None:
    fs = faulty(only=("write_all",))
    async with opened(fs) as store:
        lease = await store.grant(60)
        await store.put("a", b"1", lease=lease)
        # For ever: upkeep writes as well.
        fs.at, fs.once, fs.error = len(fs.calls) + 1, False, errno.ENOSPC
        with pytest.raises(OutcomeUnknown, match="has ended"):
            await store.lease_revoke(lease.id)
        fs.at = 0
        with pytest.raises(LeaseLost):
            await store.lease_renew(lease.id)
        await store.put("b", b"2")
        assert await store.get("a") is None


async def test_a_full_disk_costs_only_what_was_asked_meanwhile(url: str, child: Callable[..., Any], path: Path) -> None:
    script = """
    import resource
    async with opened() as store:
        done = 0
        await store.put("a", b"x" * 1000)
        size = os.path.getsize(PATH + "/.coord/log/000000000001")
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 2500, resource.RLIM_INFINITY))
        outcomes = []
        for number in range(5):
            try:
                await store.put(f"k/{number}", b"y" * 900)
                outcomes.append("ok")
            except Unavailable as error:
                outcomes.append("full")
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await store.put("after", b"z" * 5000)
        say(*outcomes)
    """
    said = child(script).line().split()
    assert said == ["ok", "ok", "full", "full", "full"]
    async with open_store(url) as store:
        keys = [entry.key for entry in (await store.list(keys_only=True)).entries]
    assert keys == ["a", "after", "k/0", "k/1"]


async def test_every_mutating_call_goes_through_the_seam() -> None:
    import ast
    from pathlib import Path as FilePath

    import coordstore_file

    banned = {"open", "write", "unlink", "rename", "replace", "truncate", "ftruncate", "fsync", "fdatasync", "mkdir"}
    for file in FilePath(coordstore_file.__path__[0]).glob("*.py"):
        if file.name == "_fs.py":
            continue
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "os":
                assert node.attr not in banned, f"{file.name}:{node.lineno} os.{node.attr}"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "open", f"{file.name}:{node.lineno} open()"
