"""A process forks while it uses a store, in the middle of whatever its threads do: the child has no part in it.

A trial is one fork at a moment that the seed chooses, while eight callers write. The child's use of the handle is
refused and it stays alive; the parent goes on, or is killed; and another process writes at once, whatever the child
inherited.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import warnings
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from coordstore import open_store
from coordstore.errors import CoordError, ForkRefused
from tests.faults.campaign import Campaign, Outcome
from tests.faults.stage import BACKENDS, Actor, folder, url_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore import CoordStore
    from tests.faults.stage import Line

CALLERS: Final = 8
PATIENCE: Final = 5
"""Seconds in which another process must get the lock: nobody holds it for longer than a commit."""


async def forking(line: Line, url: str, delay: float, careless: bool) -> None:
    """Write all the time, fork in the midst of it, go on until told to stop."""
    # Threads at a fork are what this is about; newer Pythons warn of them.
    warnings.simplefilter("ignore", DeprecationWarning)
    if careless:
        from coordstore.hostkit.lockfile import LockedFile

        careful: Any = LockedFile
        careful.forget = lambda _: None
    async with open_store(url) as store:
        stop = asyncio.Event()
        writers = [asyncio.create_task(writing(store, number, stop)) for number in range(CALLERS)]
        await asyncio.sleep(delay)
        pid = os.fork()
        if not pid:
            await forked(line, store)
        line.say("parent", pid)
        await line.heard()
        stop.set()
        line.say("acknowledged", sum(await asyncio.gather(*writers)))


async def writing(store: CoordStore, number: int, stop: asyncio.Event) -> int:
    """Append until told to stop; return how often that was acknowledged."""
    count = 0
    while not stop.is_set():
        await store.append(f"s/{number}", [b"%d" % count])
        count += 1
        # The lock is not a fair one: let others have it.
        await asyncio.sleep(0.002)
    return count


async def forked(line: Line, store: CoordStore) -> None:
    """Be the child: try to write, tell what came of it, stay until killed."""
    word = "accepted"
    try:
        await store.put("child", b"")
    except ForkRefused:
        word = "refused"
    except CoordError as error:
        word = type(error).__name__
    line.say("child", word)
    signal.pause()


async def another(url: str) -> int:
    """Write as somebody else; return how many records there are."""
    async with open_store(f"{url}?lock_wait={PATIENCE}") as store:
        await store.put("another", b"")
        if await store.get("child") is not None:
            message = "what the child wrote is there"
            raise CoordError(message)
        return sum((await store.heads("s")).values())


def forked_at(backend: str, delay: float, *, kill: bool, careless: bool = False) -> str:
    """Make one fork; return what is wrong."""
    child = 0
    with folder() as where:
        url = url_in(backend, where)
        with Actor(forking, url, delay, careless) as parent:
            try:
                said = dict([parent.words(), parent.words()])
                child = int(said["parent"])
                if kill:
                    parent.end()
                asyncio.run(another(url))
                if not kill:
                    parent.line.say("stop")
                    acknowledged, found = int(parent.words()[1]), asyncio.run(another(url))
                    if acknowledged != found:
                        return f"{acknowledged} appends of the parent were acknowledged, {found} are there"
                return "" if said["child"] == "refused" else f"the child's write: {said['child']}"
            except CoordError as error:
                return repr(error)
            finally:
                if child:
                    with suppress(ProcessLookupError):
                        os.kill(child, signal.SIGKILL)


def on(backend: str, trials: int, seed: int, *, careless: bool = False) -> Outcome:
    """Make so many forks of processes that use a backend; every other parent is killed."""
    chance = random.Random(seed)
    wrong = []
    for number in range(trials):
        delay = chance.uniform(0.01, 0.1)
        if found := forked_at(backend, delay, kill=bool(number % 2), careless=careless):
            wrong.append(f"fork {number} of seed {seed} after {delay:.3f} s: {found}")
    return Outcome(backend, trials, tuple(wrong))


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many forks on each backend."""
    for backend in BACKENDS:
        yield on(backend, trials, seed)


CAMPAIGN = Campaign(
    "forks",
    "A forked child is refused and keeps no lock, and its parent goes on.",
    run,
    full=100,
    part=6,
    needs=("linux",),
)
