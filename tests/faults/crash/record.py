"""Records a scenario with strace, and judges what a store shows in every crash state of the recording."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from coordstore.errors import CoordError
from coordstore.hostkit import boot
from tests.faults.crash.deeds import Contents, contents
from tests.faults.crash.disk import ROOT, Disk, Move, Name, Recording, State
from tests.faults.crash.plants import planted
from tests.faults.crash.trace import FOREIGN, KNOWN, Reader
from tests.faults.crash.workload import opened, place, reboot

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.crash.disk import Ack
    from tests.faults.crash.scenarios import Scenario

REPOSITORY = Path(__file__).parents[3]
FAST = Path("/dev/shm") if Path("/dev/shm").is_dir() else None
VOLATILE = ("-shm",)
"""SQLite's index of its log: mapped into memory, rebuilt from the log by the first who opens."""


@dataclass(frozen=True)
class Taped:
    """A recorded scenario."""

    scheme: str
    scenario: Scenario
    recording: Recording
    mutating: tuple[str, ...]


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Yield an empty directory in memory; the reboots in its course end with it, and recoveries are no news."""
    log = logging.getLogger("coordstore")
    before, level = boot._LINUX, log.level
    log.setLevel(logging.CRITICAL)
    try:
        with tempfile.TemporaryDirectory(prefix="coord-crash-", dir=FAST) as folder:
            yield Path(folder)
    finally:
        boot._LINUX = before
        boot.boot_id.cache_clear()
        log.setLevel(level)


def record(scheme: str, scenario: Scenario, plant: str = "") -> Taped:
    """Run a scenario under strace and return what it did to the disk."""
    with scratch() as outside:
        folder = outside / "disk"
        folder.mkdir()
        program = [sys.executable, "-m", "tests.faults.crash.workload", scheme, str(folder), scenario.name, plant]
        if scenario.before:
            subprocess.run([*program, "before"], cwd=REPOSITORY, check=True)
        start = Disk.scoop(folder)
        tape = outside / "tape"
        tracer = ["strace", "-f", "--seccomp-bpf", "-y", "-xx", "-s", "10000000", "-o", str(tape)]
        command = [*tracer, "-e", f"trace={','.join(KNOWN + FOREIGN)}", *program, "deeds"]
        subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE)
        reader = Reader(str(folder), start, VOLATILE)
        with tape.open() as lines:
            recording = reader.read(lines)
    return Taped(scheme, scenario, recording, tuple(reader.mutating))


@dataclass
class Found:
    """What a store showed after a crash: its id, its revision, its contents; or why it did not."""

    store_id: str = ""
    revision: int = 0
    contents: Contents = field(default_factory=lambda: Contents({}, {}, {}))
    problem: str = ""


async def look(scheme: str, path: Path) -> Found:
    """Open a store, see what it holds, write to it, and see that again: no step of repair in between."""
    try:
        async with await opened(scheme, path) as store:
            seen = await contents(store)
            info = await store.info()
            await store.put("after/the/crash", b"works")
            sequence = await store.append("after/the/crash", [b"works"])
        async with await opened(scheme, path) as store:
            again = await contents(store)
    except (CoordError, OSError, Exception) as error:  # noqa: BLE001  (whatever it is, the store does not work)
        return Found(problem=f"{type(error).__name__}: {error}")
    after = again.part("after")
    if (sequence, after.keys, again.heads.get("after/the/crash")) != (1, {"after/the/crash": b"works"}, 1):
        return Found(problem=f"what was written after the crash is not there: {after.told()}")
    for part in again:
        part.pop("after/the/crash")
    problem = "" if again == seen else f"opened twice, it shows {seen.told()}, then {again.told()}"
    return Found(info.store_id, info.revision, seen, problem)


def looked_at(scheme: str, state: State, folder: Path) -> Found:
    """Put a state on a real directory, after a reboot, and look at the store there."""
    disk = folder / "disk"
    shutil.rmtree(disk, ignore_errors=True)
    disk.mkdir(mode=0o700)
    state.disk.pour(disk)
    reboot(folder / "boot")
    (disk / "store").mkdir(mode=0o700, exist_ok=True)
    return asyncio.run(look(scheme, place(disk, scheme)))


def judged(scenario: Scenario, acks: list[Ack], found: Found) -> str:
    """Return what is wrong with what a store shows, after these acknowledgements; nothing if it is as promised."""
    if found.problem:
        return found.problem
    identity = {ack.word for ack in acks if not ack.deeds and ack.word}
    if identity - {found.store_id}:
        return f"opened as {identity}, now it is {found.store_id}"
    for actor in range(len(scenario.deeds)):
        done = max((ack.deeds for ack in acks if ack.actor == str(actor)), default=0)
        legal = [ledger.shown(scenario.prefix(actor)) for ledger in scenario.ledgers(actor)[done : done + 2]]
        seen = found.contents.part(scenario.prefix(actor))
        if seen not in legal:
            wanted = " or ".join(each.told() for each in legal)
            return f"actor {actor} was told of {done} deeds: {wanted}, not {seen.told()}"
    strays = [key for key in found.contents.keys if not any(key.startswith(p) for p in prefixes(scenario))]
    return f"keys nobody wrote: {strays}" if strays else ""


@functools.cache
def prefixes(scenario: Scenario) -> tuple[str, ...]:
    """Return what all actors together may have written under."""
    return tuple(scenario.prefix(actor) for actor in range(len(scenario.deeds)))


def replay(taped: Taped, most: int, seed: int, plant: str = "", enough: int = 20) -> tuple[int, list[str]]:
    """Judge so many distinct states of a recording, at most; return how many there were, and what was wrong.

    Args:
        taped: The recording.
        most: How many states.
        seed: Chooses them.
        plant: A bug planted in the judged store.
        enough: How many wrong states end it.
    """
    seen: dict[bytes, Found] = {}
    judgements: set[tuple[bytes, int]] = set()
    wrong = []
    recording = taped.recording
    with scratch() as folder, planted(plant):
        for point, lost in recording.cases(random.Random(seed)):
            state = recording.state(point, lost)
            digest, acks = state.disk.digest(), recording.acks(point)
            if (digest, len(acks)) in judgements or (digest not in seen and len(seen) >= most):
                continue
            judgements.add((digest, len(acks)))
            if digest not in seen:
                seen[digest] = looked_at(taped.scheme, state, folder)
            if problem := judged(taped.scenario, acks, seen[digest]):
                wrong.append(f"{taped.scheme} {taped.scenario.name!r} {where(recording, state)}: {problem}")
                if len(wrong) >= enough:
                    break
    return len(seen), wrong


def where(recording: Recording, state: State) -> str:
    """Return when the power went and what was lost, so that a person can follow."""
    names = {ROOT: "."}
    for event in recording.events:
        if isinstance(event, Name | Move) and event.node is not None:
            names[event.node] = event.name
    lost = [
        f"{at} {type(event).__name__.lower()} {getattr(event, 'name', names.get(event.home, event.home))}"  # type: ignore[union-attr]  # an operation has a home
        for at, event in enumerate(recording.events)
        if at in state.lost
    ]
    shown = ", ".join(lost[:8]) + (f" and {len(lost) - 8} more" if len(lost) > 8 else "")
    return f"after event {state.point} of {len(recording.events)}, lost: {shown or 'nothing'}"
