"""The stores that are measured: how one is opened here, how many processes drive one, and what a window of work is."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore import open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from coordstore.store import CoordStore

__all__ = [
    "BUILD",
    "NAMES",
    "RECORD",
    "SCHEMES",
    "appends_in",
    "cpu_seconds",
    "forked",
    "mean_append",
    "opened",
    "url_of",
]

BUILD: Final = Path(__file__).resolve().parents[1] / "build"
"""Where stores lie: a temporary folder may be in memory, where a sync costs nothing."""
BUILD.mkdir(exist_ok=True)
SCHEMES: Final = ("file", "sqlite")
NAMES: Final = {"file": "File", "sqlite": "SQLite"}
RECORD: Final = b'{"type":"step","n":1,"text":"' + b"x" * 160 + b'"}'
"""What every append writes: an agent's event of 192 bytes."""


def url_of(scheme: str, folder: Path, durability: str = "full") -> str:
    """Return the URL of a store in a folder that is private to the benchmark."""
    return f"{scheme}:{folder / f'store-{scheme}-{durability}'}?durability={durability}"


@asynccontextmanager
async def opened(scheme: str, folder: Path, durability: str = "full") -> AsyncIterator[CoordStore]:
    """Open a store, made when it is not there."""
    async with open_store(url_of(scheme, folder, durability)) as store:
        yield store


async def mean_append(store: CoordStore, times: int, stream: str = "events/one") -> list[float]:
    """Append so many times, one after the other; return the seconds that each took."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await store.append(stream, [RECORD])
        took.append(time.perf_counter() - began)
    return took


async def appends_in(store: CoordStore, seconds: float, callers: int, name: str = "c") -> float:
    """Return the appends a second of so many callers, each with a stream of its own, within a window."""
    count = 0
    end = time.perf_counter() + seconds

    async def call(number: int) -> None:
        nonlocal count
        while time.perf_counter() < end:
            await store.append(f"events/{name}{number}", [RECORD])
            count += 1

    began = time.perf_counter()
    await asyncio.gather(*(call(number) for number in range(callers)))
    return count / (time.perf_counter() - began)


def forked(count: int, work: Callable[[int], Coroutine[None, None, str]]) -> list[str]:
    """Run a coroutine in each of so many children of this process; return what each answered.

    Called where no thread and no loop runs: a fork carries neither over.

    Raises:
        RuntimeError: A child failed; its traceback is on standard error.
    """
    # What a store needs is imported once, not by each child.
    asyncio.run(_warmed())
    readers, children = [], []
    for number in range(count):
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            _child(work, number, writer)
        os.close(writer)
        readers.append(reader)
        children.append(child)
    answers = [_answer(reader) for reader in readers]
    failed = [child for child in children if os.waitpid(child, 0)[1]]
    if failed:
        message = f"{len(failed)} of {count} children failed"
        raise RuntimeError(message)
    return answers


async def _warmed() -> None:
    with tempfile.TemporaryDirectory(dir=BUILD) as name:
        for scheme in SCHEMES:
            async with opened(scheme, Path(name), "process") as store:
                await store.append("events/one", [RECORD])


def _child(work: Callable[[int], Coroutine[None, None, str]], number: int, writer: int) -> None:
    status = 1
    # What the parent holds is not the child's to look through: each page it touched would be copied for that.
    gc.freeze()
    try:
        os.write(writer, asyncio.run(work(number)).encode())
        status = 0
    except BaseException:  # noqa: BLE001  (the child ends here, whatever happened; it is printed)
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def _answer(reader: int) -> str:
    with os.fdopen(reader) as file:
        return file.read()


def cpu_seconds() -> float:
    """Return the processor time that this process has used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
