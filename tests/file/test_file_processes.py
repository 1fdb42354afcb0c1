"""Several processes on one store: races, kills, stops, compactions."""

from __future__ import annotations

import asyncio
import random
import signal
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
async def test_twenty_processes_that_create_the_store_at_once_make_one(url: str, child: Callable[..., Any]) -> None:
    script = """
    import coordstore_file.handle
    say("ready")
    await heard()
    async with opened() as store:
        say((await store.info()).store_id)
        await store.put(f"p/{os.getpid()}", b"")
    """
    children = [child(script) for _ in range(20)]
    assert {one.line() for one in children} == {"ready"}
    for one in children:
        one.tell("go")
    ids = {one.line() for one in children}
    assert len(ids) == 1
    for one in children:
        assert one.process.wait() == 0
    async with open_store(url) as store:
        assert len((await store.list("p")).entries) == 20
        assert {(await store.info()).store_id} == ids


WRITE = """
from coordstore_file import compaction, upkeep
if len(ARGS) > 1:
    compaction.LOG_BYTES, upkeep._PAUSE, upkeep._SHARE = int(ARGS[1]), 0, 0
async with opened(ARGS[0]) as store:
    say("open")
    number = int((await store.heads()).get("log", 0))
    while True:
        number += 1
        text = b"%d" % number
        await store.transact([Put("a", text), Put("b", text)], appends=[Append("log", text)])
        say(number)
"""


async def whole(url: str, last: int) -> int:
    """Check that a store holds what was acknowledged, and perhaps one more; return how much."""
    async with open_store(url) as store:
        values = {entry.value for entry in (await store.list()).entries}
        assert len(values) <= 1
        landed = int(values.pop()) if values else 0
        assert last <= landed <= last + 1
        assert [record.data for record in await store.read("log")] == [b"%d" % n for n in range(1, landed + 1)]
        assert await store.append("log", [b"%d" % (landed + 1)]) == landed + 1
        await store.transact([], appends=[])
    return landed


@pytest.mark.req("S5", "S7")
@pytest.mark.parametrize("options", ["", "?durability=process"])
@pytest.mark.parametrize("acknowledged", [0, 1, 2, 3, 5, 7, 12, 18, 25, 35, 48, 70])
async def test_what_was_acknowledged_survives_kill_9(
    url: str, child: Callable[..., Any], acknowledged: int, options: str
) -> None:
    writer = child(WRITE, options)
    for _ in range(acknowledged + 1):
        writer.line()
    writer.signal(signal.SIGKILL)
    last = int((writer.lines() or [str(acknowledged)])[-1])
    await whole(url, last)


@pytest.mark.req("S5", "S7", "S13")
async def test_kill_9_during_compactions_loses_nothing(url: str, path: Path, child: Callable[..., Any]) -> None:
    chance = random.Random(11)
    last = 0
    for _ in range(20):
        # So small that compaction hardly ever rests.
        writer = child(WRITE, "", "500")
        writer.line()
        for _ in range(chance.randrange(1, 60)):
            last = int(writer.line())
        writer.signal(signal.SIGKILL)
        lines = writer.lines()
        last = int(lines[-1]) if lines else last
        async with open_store(url) as store:
            head = (await store.heads()).get("log", 0)
            assert last <= head <= last + 1
            assert [record.data for record in await store.read("log")] == [b"%d" % n for n in range(1, head + 1)]
            entries = (await store.list()).entries
            assert {entry.value for entry in entries} == {b"%d" % head}
        last = head
    assert last > 100
    snapshots = [int(file.name) for file in (path / ".coord/snapshot").glob("[0-9]*")]
    assert max(snapshots) > 20, "it was compacted again and again"


@pytest.mark.req("S13")
async def test_processes_that_compact_and_write_and_read_at_once(url: str, child: Callable[..., Any]) -> None:
    script = """
    async with opened("?durability=process") as store:
        say("ready")
        await heard()
        for number in range(60):
            text = b"%d" % number
            await store.transact([Put(f"k/{ARGS[0]}", text)], appends=[Append(f"s/{ARGS[0]}", text)])
            if number % 6 == int(ARGS[0]):
                await store.compact(keep=number % 5)
            records = await store.read(f"s/{ARGS[0]}")
            assert [int(record.data) for record in records] == list(range(number + 1))
        say("done")
    """
    children = [child(script, str(name)) for name in range(3)]
    assert [one.line() for one in children] == ["ready"] * 3
    seen: dict[str, int] = {}
    async with open_store(url) as store, aclosing(store.follow("s")) as feed:
        for one in children:
            one.tell("go")
        revision = 0
        async with asyncio.timeout(40):
            async for record in feed:
                assert int(record.data) == seen.get(record.stream, -1) + 1
                assert record.revision > revision
                revision, seen[record.stream] = record.revision, int(record.data)
                if len(seen) == 3 and set(seen.values()) == {59}:
                    break
        assert [one.line() for one in children] == ["done"] * 3
        assert {entry.key: entry.value for entry in (await store.list("k")).entries} == {
            f"k/{name}": b"59" for name in range(3)
        }


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


STANDING = """
from pathlib import Path
from coordstore.hostkit import StoreLock

def hold():
    with StoreLock(Path(PATH + "/.coord/lock"), 5).held():
        say("held")
        sys.stdin.readline()

await asyncio.to_thread(hold)
say("let go")
"""


async def test_a_stopped_writer_is_named_and_readers_go_on(url: str, child: Callable[..., Any]) -> None:
    async with open_store(f"{url}?lock_wait=0.2") as store:
        await store.put("a", b"1")
        holder = child(STANDING)
        assert holder.line() == "held"
        holder.signal(signal.SIGSTOP)
        with pytest.raises(Unavailable, match=rf"process {holder.pid}"):
            await store.put("a", b"2")
        entry = await store.get("a")
        assert entry is not None
        assert entry.value == b"1"
        async with open_store(f"{url}?lock_wait=0.2") as other:
            assert await other.get("a") == entry
        holder.signal(signal.SIGCONT)
        holder.tell("let go")
        assert holder.line() == "let go"
        await store.put("a", b"2")


async def test_a_handle_in_a_forked_child_leaves_the_parents_files_alone(
    url: str, path: Path, child: Callable[..., Any]
) -> None:
    script = """
    async with opened() as store:
        await store.put("a", b"1")
        pid = os.fork()
        if not pid:
            try:
                await store.put("a", b"2")
                os._exit(1)
            except ForkRefused:
                os._exit(0)
        say(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        await store.put("a", b"3")
        say("ok")
    """
    one = child(script)
    assert [one.line(), one.line()] == ["0", "ok"]
