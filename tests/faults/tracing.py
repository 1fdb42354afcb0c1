"""A store's life in a traced process: one thread does all its I/O, so that the N-th system call is always the same.

strace counts calls by thread and injects what it is told to. Kills come before the call is made, so a kill at each
call is a kill between every two of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import subprocess
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from coordstore.errors import CoordError
from coordstore.url import StoreURL
from coordstore_file.store import open_file
from coordstore_sqlite.store import open_sqlite
from tests.faults.deeds import DEEDS, Dial, attempted
from tests.faults.stage import Actor, url_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.store import StoreBase
    from tests.faults.stage import Line

__all__ = ["EARLY", "HOPEFUL", "MUTATING", "Call", "Trial", "calls", "opened", "traced"]

MUTATING: Final = (
    "openat",
    "pwrite64",
    "write",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "unlink",
    "mkdir",
    "rmdir",
    "fchmod",
)
"""The calls with which Python and SQLite change files."""
EARLY: Final = "acknowledged before it is done"
HOPEFUL: Final = "failed sync is a success"
_THREAD: Final = ThreadPoolExecutor
_CALL: Final = re.compile(r"^(\d+) +(\w+)\(")


class OneThread:
    """Stands in for every executor and every connection's thread: what they are asked is done by one thread."""

    shared: ThreadPoolExecutor | None = None

    def __new__(cls, *_: object, **__: object) -> Any:
        """Return the one executor."""
        if OneThread.shared is None:
            OneThread.shared = _THREAD(1)
            OneThread.shared.shutdown = lambda *_, **__: None  # type: ignore[method-assign]  # it is everybody's
        return OneThread.shared


class OneConnection:
    """Stands in for aiosqlite's connection, on that thread."""

    def __init__(self, connector: Callable[[], Any], _: int) -> None:
        self.daemon = True
        self._connector = connector
        self._conn: Any = None

    def __await__(self) -> Any:
        """Connect."""
        return self._connect().__await__()

    async def _connect(self) -> None:
        self._conn = await asyncio.get_running_loop().run_in_executor(OneThread(), self._connector)

    async def _execute(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(OneThread(), lambda: function(*args, **kwargs))

    async def close(self) -> None:
        """Close."""
        if self._conn is not None:
            await self._execute(self._conn.close)


def one_thread() -> None:
    """Make this process do all I/O of stores on one thread, compact and rotate early."""
    import aiosqlite

    from coordstore_file import compaction, handle, journal
    from coordstore_sqlite import handle as sqlite_handle

    names: dict[str, tuple[Any, object]] = {
        "ThreadPoolExecutor": (handle, OneThread),
        "_SEGMENT": (journal, 2_000),
        "LOG_BYTES": (compaction, 10**9),
        "Connection": (aiosqlite, OneConnection),
    }
    for name, (module, value) in names.items():
        setattr(module, name, value)
    vars(sqlite_handle)["ThreadPoolExecutor"] = OneThread


async def opened(url: str, dial: Dial) -> StoreBase:
    """Open a store on a clock of the test."""
    where = StoreURL.parse(url)
    if where.scheme == "file":
        return await open_file(where, dial)
    return await open_sqlite(where, dial)


async def life(line: Line, url: str, limit: int, plant: str) -> None:
    """Open the store, do all deeds and tell what became of each, close; a store that does not open does nothing."""
    one_thread()
    if plant == HOPEFUL:
        hopeful()
    line.say("here")
    await line.heard()
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    dial = Dial()
    try:
        store = await opened(url, dial)
    except CoordError as error:
        line.say("closed", type(error).__name__)
        return
    for number in range(len(DEEDS)):
        line.say("begin", number)
        if plant == EARLY:
            line.say("end", number, "ok")
        line.say("end", number, await attempted(store, dial, number, "d"))
    with contextlib.suppress(CoordError):
        await store.aclose()
    line.say("closed", "-")


def hopeful() -> None:
    """Let the File backend take every sync for a success."""
    from coordstore_file._fs import OsFileSystem

    def sync(_: OsFileSystem, handle: int) -> None:
        with contextlib.suppress(OSError):
            os.fdatasync(handle)

    system: Any = OsFileSystem
    system.fdatasync = sync


class Call(NamedTuple):
    """A system call of an undisturbed life: its name, its number among those of that name on its thread, its trace."""

    name: str
    number: int
    text: str

    @property
    def changes(self) -> bool:
        """Whether it changes anything."""
        made = self.name != "openat" or "O_CREAT" in self.text
        return made and ") = -1 " not in self.text


class Trial(NamedTuple):
    """What one traced life came to.

    Args:
        outcomes: What it said of each deed that ended.
        begun: The deeds that began.
        opened: Whether the store opened at all; None: it did not live to say so.
        injected: The lines of the trace in which something was injected.
        trace: All lines.
        closed: Whether it lived to close the store, or not to open it.
    """

    outcomes: dict[int, str]
    begun: int
    opened: bool | None
    injected: list[str]
    trace: list[str]
    closed: bool

    @property
    def unsure(self) -> list[int]:
        """The deeds that may have been done: those in doubt, and those that were under way at the end."""
        doubt = [number for number, word in self.outcomes.items() if word == "unknown"]
        return doubt + [number for number in range(self.begun) if number not in self.outcomes]

    @property
    def done(self) -> list[int]:
        """The deeds that were acknowledged."""
        return [number for number, word in self.outcomes.items() if word == "ok"]


def traced(
    backend: str, where: Path, *options: str, durability: str = "full", limit: int = 0, plant: str = "", watch: str = ""
) -> Trial:
    """Let a process live, traced with such options of strace; without any it is not traced.

    Args:
        backend: The scheme.
        where: The folder of its store.
        options: What is injected.
        durability: The store's.
        limit: Bytes beyond which files must not grow; 0: any.
        plant: A bug.
        watch: Further calls to show in the trace.
    """
    shown = ",".join([*MUTATING, *filter(None, [watch])])
    log = where / "trace"
    with Actor(life, url_in(backend, where, f"?durability={durability}"), limit, plant) as one:
        one.words()
        tracer = None
        if options or watch:
            argv = ["strace", "-f", "-y", "-q", "-o", str(log), "-e", f"trace={shown}", *options, "-p", str(one.pid)]
            tracer = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            _attached(one.pid, tracer)
        one.line.say("go")
        said = one.rest()
        one.process.join()
        if tracer is not None:
            tracer.wait()
    trace = log.read_text(errors="replace").splitlines() if log.exists() else []
    return _told(said, trace)


def _told(said: list[list[str]], trace: list[str]) -> Trial:
    outcomes = {int(words[1]): words[2] for words in said if words[0] == "end"}
    outcomes |= {len(DEEDS): " ".join(words) for words in said if words[0] == "!"}
    begun = sum(words[0] == "begin" for words in said)
    shut = any(words[0] == "closed" for words in said)
    is_open = True if begun else (False if shut else None)
    return Trial(outcomes, begun, is_open, [line for line in trace if "(INJECTED)" in line], trace, shut)


def _attached(pid: int, tracer: subprocess.Popen[bytes]) -> None:
    """Wait until the process is traced."""
    for _ in range(10_000):
        status = Path(f"/proc/{pid}/status").read_text()
        if "TracerPid:\t0\n" not in status:
            return
        if tracer.poll() is not None:
            break
        time.sleep(0.001)
    message = f"strace does not attach to a process of ours ({tracer.poll()})"
    raise RuntimeError(message)


def calls(backend: str, where: Path, durability: str = "full") -> list[Call]:
    """Return the mutating calls of an undisturbed life on its store's folder, by name and number on their thread."""
    (where / "undisturbed").mkdir()
    trial = traced(backend, where / "undisturbed", durability=durability, watch="sendto")
    if set(trial.outcomes.values()) != {"ok"}:
        message = f"an undisturbed life on {backend} came to {trial.outcomes}"
        raise RuntimeError(message)
    counts: Counter[tuple[str, str]] = Counter()
    found: dict[tuple[str, int], Call] = {}
    for text in trial.trace:
        if (match := _CALL.match(text)) and match[2] in MUTATING:
            counts[match[1], match[2]] += 1
            call = Call(match[2], counts[match[1], match[2]], text)
            if str(where) in text:
                found.setdefault((call.name, call.number), call)
    return list(found.values())
