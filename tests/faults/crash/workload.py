"""The process that is recorded: ``python -m tests.faults.crash.workload SCHEME FOLDER SCENARIO PLANT PART [ACTOR]``.

PART is ``before``: makes the store as the scenario finds it and dies; ``deeds``: performs the deeds and writes ``ACK
actor n revision`` after each; ``open``: the acknowledgement of the opening is number 0 and tells the store's id.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from coordstore.hostkit import boot
from coordstore.url import StoreURL
from tests.faults.crash.deeds import Doer, ShiftedClock
from tests.faults.crash.plants import exit_now, planted
from tests.faults.crash.scenarios import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore import CoordStore
    from tests.faults.crash.deeds import Deed
    from tests.faults.crash.scenarios import Scenario

SMALL = {"segment": ("coordstore_file.journal", "_SEGMENT", 2000), "wal": ("coordstore_sqlite.writer", "_WAL_BYTES", 1)}


def place(folder: Path, scheme: str) -> Path:
    """Return where in a folder the store is."""
    return folder / "store" if scheme == "file" else folder / "store" / "store.db"


async def opened(scheme: str, path: Path, clock: ShiftedClock | None = None) -> CoordStore:
    """Open a store, with a clock of our own; blocks a little at the first use."""
    url = StoreURL.parse(f"{scheme}:{path}")
    if scheme == "file":
        from coordstore_file.store import open_file

        return await open_file(url, clock)
    from coordstore_sqlite.store import open_sqlite

    return await open_sqlite(url, clock)


def reboot(note: Path) -> None:
    """Let this process, and all that look at the same note, believe in a new boot."""
    note.write_text(f"{uuid.uuid4()}\n")
    boot._LINUX = note
    boot.boot_id.cache_clear()


def limit(names: Sequence[str]) -> None:
    """Make limits small, so that few deeds reach them."""
    import importlib

    for name in names:
        module, attribute, value = SMALL[name]
        setattr(importlib.import_module(module), attribute, value)


def ack(actor: int, done: int, word: object = "") -> None:
    """Acknowledge: one write, which the recording shows."""
    os.write(1, f"ACK {actor} {done} {word}\n".encode())


async def perform(scheme: str, path: Path, deeds: Sequence[Deed], actor: int) -> None:
    """Open the store and do the deeds, an acknowledgement after each."""
    clock = ShiftedClock()
    async with await opened(scheme, path, clock) as store:
        ack(actor, 0, store.store_id)  # type: ignore[attr-defined]  # every backend's handle has it
        doer = Doer(store, clock)
        for done, deed in enumerate(deeds, 1):
            if deed.kind == "close":
                await store.aclose()
                ack(actor, done)
                break
            await doer.do(deed)
            ack(actor, done)
    if deed_after_close := deeds[done:] if deeds and deeds[done - 1].kind == "close" else ():
        async with await opened(scheme, path, clock) as store:
            for number, deed in enumerate(deed_after_close, done + 1):
                await Doer(store, clock).do(deed)
                ack(actor, number)


async def at_once(scheme: str, path: Path, scenario: Scenario) -> None:
    """Let every actor be a task on one handle: their deeds are committed in groups."""
    clock = ShiftedClock()
    async with await opened(scheme, path, clock) as store:
        ack(0, 0, store.store_id)  # type: ignore[attr-defined]  # every backend's handle has it

        async def act(actor: int) -> None:
            for done, deed in enumerate(scenario.deeds[actor], 1):
                await Doer(store, clock).do(deed)
                ack(actor, done)

        await asyncio.gather(*(act(actor) for actor in range(len(scenario.deeds))))


async def in_turn(scheme: str, path: Path, deeds: Sequence[Deed], me: int) -> None:
    """Do every second deed, when a line says so; the handle stays open meanwhile."""
    clock = ShiftedClock()
    async with await opened(scheme, path, clock) as store:
        doer = Doer(store, clock)
        while line := await asyncio.to_thread(sys.stdin.readline):
            done = int(line)
            if done % 2 == me:
                await doer.do(deeds[done])
                ack(0, done + 1)
            os.write(2, b"\n")


def turns(arguments: Sequence[str], count: int) -> None:
    """Have two processes take turns."""
    command = [sys.executable, "-m", "tests.faults.crash.workload", *arguments]
    pipe = subprocess.PIPE
    with contextlib.ExitStack() as stack:
        two = [stack.enter_context(subprocess.Popen([*command, str(me)], stdin=pipe, stderr=pipe)) for me in (0, 1)]
        for done in range(count):
            for one in two:
                assert one.stdin is not None
                assert one.stderr is not None
                one.stdin.write(b"%d\n" % done)
                one.stdin.flush()
                assert one.stderr.read(1) == b"\n", one.stderr.read()
        for one in two:
            one.communicate()


def processes(arguments: Sequence[str], count: int) -> None:
    """Have each actor be a process."""
    command = [sys.executable, "-m", "tests.faults.crash.workload", *arguments]
    started = [subprocess.Popen([*command, str(actor)]) for actor in range(count)]
    assert [one.wait() for one in started] == [0] * count


def leave(path: Path, scheme: str, deeds: Sequence[Deed], left: str) -> None:
    """Make the store as it is found, and leave it in a certain state."""

    async def make() -> None:
        clock = ShiftedClock()
        store = await opened(scheme, path, clock)
        doer = Doer(store, clock)
        for deed in deeds[:-1]:
            await doer.do(deed)
        mark = (path / ".coord/mark").read_bytes() if left == "behind" else b""
        for deed in deeds[-1:]:
            await doer.do(deed)
        if left == "closed":
            await store.aclose()
            return
        if mark:
            (path / ".coord/mark").write_bytes(mark)
        if left == "torn":
            tear(path, scheme)
        exit_now()

    asyncio.run(make())


def tear(path: Path, scheme: str) -> None:
    """Put half a commit behind the end of the log."""
    log = path / ".coord/log/000000000001" if scheme == "file" else path.with_name(f"{path.name}-wal")
    with log.open("ab") as file:
        file.write(log.read_bytes()[100:] * 2)


def main(arguments: Sequence[str]) -> None:
    """Do one part of a scenario."""
    scheme, folder, name, plant, part, *rest = arguments
    scenario = next(each for each in SCENARIOS if each.name == name)
    path = place(Path(folder), scheme)
    limit(scenario.small)
    if part == "before":
        leave(path, scheme, scenario.before, scenario.left)
        return
    if scenario.left != "closed":
        reboot(Path(f"{folder}.boot"))
    with planted(plant):
        actor = int(rest[0]) if rest else 0
        if scenario.together == "turns":
            if rest:
                asyncio.run(in_turn(scheme, path, scenario.deeds[0], actor))
            else:
                turns(arguments, len(scenario.deeds[0]))
        elif scenario.together == "processes" and not rest:
            processes(arguments, len(scenario.deeds))
        elif scenario.together == "processes" or len(scenario.deeds) == 1:
            asyncio.run(perform(scheme, path, scenario.deeds[actor], actor))
        else:
            asyncio.run(at_once(scheme, path, scenario))


if __name__ == "__main__":
    main(sys.argv[1:])
