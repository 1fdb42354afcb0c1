"""Several processes on one store: races, kills, stops."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

INCREMENT = """
async with opened() as store:
    say("ready")
    await heard()
    done = 0
    while done < int(ARGS[0]):
        entry = await store.get("counter")
        value, revision = (int(entry.value), entry.revision) if entry else (0, 0)
        try:
            await store.put("counter", b"%d" % (value + 1), expect=revision)
            done += 1
        except Conflict:
            pass
    say("done")
"""


@pytest.mark.req("S5")
async def test_increments_by_compare_and_set_from_four_processes_are_exact(url: str, child: Callable[..., Any]) -> None:
    children = [child(INCREMENT, "25") for _ in range(4)]
    assert [one.line() for one in children] == ["ready"] * 4
    for one in children:
        one.tell("go")
    assert [one.line() for one in children] == ["done"] * 4
    async with open_store(url) as store:
        entry = await store.get("counter")
        assert entry is not None
        assert entry.value == b"100"
        assert (await store.info()).revision == 100


@pytest.mark.req("S1")
async def test_processes_that_create_the_store_at_once_make_one(path: Any, child: Callable[..., Any]) -> None:
    script = """
    from coordstore_sqlite.handle import SqliteStore
    say("ready")
    await heard()
    async with opened() as store:
        say((await store.info()).store_id)
        await store.put(f"p/{os.getpid()}", b"")
    """
    children = [child(script) for _ in range(12)]
    assert {one.line() for one in children} == {"ready"}
    for one in children:
        one.tell("go")
    ids = {one.line() for one in children}
    assert len(ids) == 1
    for one in children:
        assert one.process.wait() == 0
    async with open_store(f"sqlite:{path}") as store:
        assert len((await store.list("p")).entries) == 12
        assert {(await store.info()).store_id} == ids
    assert not path.with_name("store.db-new").exists()


WRITE = """
async with opened() as store:
    say("open")
    number = 0
    while True:
        number += 1
        text = b"%d" % number
        await store.transact([Put("a", text), Put("b", text)], appends=[Append("log", text)])
        say(number)
"""


@pytest.mark.req("S5", "S7")
@pytest.mark.parametrize("acknowledged", [0, 1, 2, 3, 4, 5, 7, 9, 12, 15, 18, 21, 25, 30, 35, 41, 48, 55, 62, 70])
async def test_what_was_acknowledged_survives_kill_9(url: str, child: Callable[..., Any], acknowledged: int) -> None:
    writer = child(WRITE)
    for _ in range(acknowledged + 1):
        writer.line()
    writer.signal(signal.SIGKILL)
    last = int((writer.lines() or [str(acknowledged)])[-1])
    async with open_store(url) as store:
        listing = await store.list()
        values = {entry.value for entry in listing.entries}
        assert len(values) <= 1
        landed = int(values.pop()) if values else 0
        assert last <= landed <= last + 1
        assert [record.data for record in await store.read("log")] == [b"%d" % n for n in range(1, landed + 1)]
        assert await store.append("log", [b"next"]) == landed + 1


@pytest.mark.req("S6")
async def test_a_watcher_in_another_process_is_told_of_every_change(url: str, child: Callable[..., Any]) -> None:
    script = """
    async with opened() as store:
        say((await store.info()).revision)
        async for batch in store.watch("a", since=0):
            say(batch.revision, *(f"{change.key}={change.entry and change.entry.value}" for change in batch.changes))
    """
    watcher = child(script)
    assert watcher.line() == "0"
    async with open_store(url) as store:
        for number in range(20):
            await store.put(f"a/{number}", b"x")
            await store.put("b", b"x")
        await store.delete("a/3")
    assert [watcher.line() for _ in range(21)] == [
        *(f"{2 * number + 1} a/{number}=b'x'" for number in range(20)),
        "41 a/3=None",
    ]


HOLDER = """
async with opened() as store:
    async with await store.grant(2) as lease:
        token = await store.create("lock/holder", b"", lease=lease)
        say(token)
        await heard()
        say(lease.lost)
        for attempt in (
            lambda: store.put("work", b"zombie", fence=("lock/holder", token)),
            lambda: store.put("lock/holder", b"zombie", lease=lease),
            lease.renew,
        ):
            try:
                await attempt()
                say("accepted")
            except CoordError as error:
                say(type(error).__name__)
"""


@pytest.mark.req("S9")
async def test_a_holder_that_was_stopped_past_its_lease_is_fenced(url: str, child: Callable[..., Any]) -> None:
    zombie = child(HOLDER)
    token = int(zombie.line())
    zombie.signal(signal.SIGSTOP)
    async with open_store(url) as store:
        async with aclosing(store.watch("lock/holder", since=token)) as changes:
            gone = await anext(changes)
        assert [change.entry for change in gone.changes] == [None]
        mine = await store.create("lock/holder", b"mine")
        assert mine > token
        zombie.signal(signal.SIGCONT)
        zombie.tell("go on")
        assert [zombie.line() for _ in range(4)] == ["True", "Fenced", "LeaseLost", "LeaseLost"]
        assert await store.get("work") is None
        entry = await store.get("lock/holder")
        assert entry is not None
        assert entry.value == b"mine"


STANDING = """
from pathlib import Path
from coordstore.hostkit import StoreLock

def hold():
    with StoreLock(Path(PATH + "-lock"), 5).held():
        say("held")
        sys.stdin.readline()

await asyncio.to_thread(hold)
"""


@pytest.mark.req("S1")
async def test_who_holds_the_lock_too_long_is_named_and_reading_goes_on(url: str, child: Callable[..., Any]) -> None:
    async with open_store(url, lock_wait="0.05") as store:
        await store.put("a", b"1")
        lease = await store.grant(10)
        holder = child(STANDING)
        assert holder.line() == "held"
        holder.signal(signal.SIGSTOP)
        with pytest.raises(Unavailable, match=f"process {holder.pid} on "):
            await store.put("a", b"2")
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"1"
        await lease.renew()
        holder.signal(signal.SIGKILL)
        await asyncio.to_thread(holder.process.wait)
        await store.put("a", b"3")


@pytest.mark.req("S9")
async def test_a_lease_that_cannot_be_ended_now_does_not_keep_anybody_from_reading(
    url: str, child: Callable[..., Any]
) -> None:
    async with open_store(url) as store:
        lease = await store.grant(2)
        await store.put("a", b"1", lease=lease)
        holder = child(STANDING)
        assert holder.line() == "held"
        await lease.wait_lost()
        async with asyncio.timeout(30):  # the holder's own clock stops first, the store's a moment later
            while "sweeps_failed" not in store.statistics():
                assert await store.get("a") is not None
        assert await store.get("a") is not None
        assert store.statistics()["sweeps_failed"] == 1
        holder.tell("go on")
        await asyncio.to_thread(holder.process.wait)
        await store.put("b", b"")
        assert await store.get("a") is None


FILL = """
count = 0
async with opened() as store:
    try:
        while True:
            await store.transact([Put(f"k/{count}", b"x" * 20_000)], appends=[Append("s", b"x" * 10_000)])
            count += 1
    except CoordError as error:
        say(type(error).__name__, "full" in str(error))
    say(count == len((await store.list()).entries) == len(await store.read("s")) == (await store.info()).revision)
    os.system("mount -o remount,size=16m " + os.path.dirname(PATH))
    say(await store.append("s", [b"y"]) == count + 1)
async with opened() as store:
    say(count == len((await store.list()).entries))
"""


@pytest.mark.skipif(shutil.which("unshare") is None, reason="a small file system of its own needs mount namespaces")
@pytest.mark.req("S1")
def test_a_full_disk_is_certainly_not_applied_and_room_heals_it(tmp_path: Path, program: Callable[[str], str]) -> None:
    own = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-ec"]
    script = 'mount -t tmpfs -o size=1m,mode=700 none "$0"; exec "$@"'
    command = [*own, script, str(tmp_path), sys.executable, "-c", program(FILL), str(tmp_path / "store.db")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    if os.geteuid() != 0 and not ran.stdout and re.search("ermission|not permitted", ran.stderr):
        pytest.skip("this system lets only root make mount namespaces")
    assert ran.stdout.splitlines() == ["Unavailable True", "True", "True", "True"], ran.stderr


@pytest.mark.req("S1")
async def test_a_write_that_fails_in_the_commit_is_unknown_and_the_next_one_works(
    url: str, child: Callable[..., Any]
) -> None:
    script = """
    import resource, signal
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    async with opened() as store:
        await store.put("a", b"1")
        size = os.stat(PATH + "-wal").st_size
        resource.setrlimit(resource.RLIMIT_FSIZE, (size + 1000, resource.RLIM_INFINITY))
        try:
            await store.put("a", b"2" * 100_000)
            say("accepted")
        except (OutcomeUnknown, Unavailable) as error:
            say(type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        entry = await store.get("a")
        say(len(entry.value), entry.revision)
        say(await store.put("a", b"3"), store.statistics()["reopened"])
    """
    writer = child(script)
    assert writer.line() == "OutcomeUnknown"
    length, revision = writer.line().split()
    assert length == "1"
    after, reopened = writer.line().split()
    assert int(after) > int(revision)
    assert reopened == "1"
    async with open_store(url) as store:
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"3"
