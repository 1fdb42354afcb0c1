"""How long a lease outlives its holder, and how long a holder that is cut off believes in it.

A trial is one lease: of a holder whose renewals do not come through, and which must know within the TTL; and of one
that was killed, whose key must be gone within the TTL and two seconds. Leases are tried many at a time.
"""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final

from coordstore import open_store
from coordstore.hostkit import StoreLock
from tests.faults.campaign import Campaign, Outcome
from tests.faults.holding import held
from tests.faults.stage import BACKENDS, Actor, actors, folder, now, url_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coordstore import CoordStore
    from coordstore.store import Lease
    from tests.faults.stage import Line

TTL: Final = 3
GRACE: Final = 2.0
"""Seconds beyond the TTL in which the keys of the dead must be gone."""
TURN: Final = 1.0
"""Seconds in which a loaded machine gives a process its turn."""
HELD: Final = 20
"""Leases of one process."""
TABLES: Final = {"file": "store/.coord/leases", "sqlite": "store.db-leases"}


async def holder(line: Line, url: str, first: int, count: int, forgetful: bool) -> None:
    """Hold leases, renewed in the background; told to, say for each when it was known to be lost, and how late."""
    async with open_store(url) as store, AsyncExitStack() as stack:
        leases = [(await held(store, f"held/{number}", TTL, stack))[0] for number in range(first, first + count)]
        if forgetful:
            for lease in leases:
                lease._stop_keeper()
                lease._deadline += 2 * TTL
        line.say("ready")
        # Cut off means: what was sent so far was answered, nothing later is.
        await asyncio.gather(*(known(line, lease) for lease in leases))
        line.say("all")
        await line.heard()


async def known(line: Line, lease: Lease) -> None:
    """Wait for the loss and tell its deadline and when it was known."""
    await lease.wait_lost()
    line.say(lease.deadline, now())


async def watcher(line: Line, url: str, count: int) -> None:
    """Say for each key when it was seen to vanish."""
    async with open_store(url) as store:
        await vanishing(line, store, count)


async def vanishing(line: Line, store: CoordStore, count: int) -> None:
    """Follow the keys until none is left."""
    async with aclosing(store.watch("held")) as feed:
        line.say("ready")
        async for batch in feed:
            gone = [change.key for change in batch.changes if change.entry is None]
            for key in gone:
                line.say(key, now())
            count -= len(gone)
            if not count:
                return


async def blocker(line: Line, path: Path) -> None:
    """Hold the lock of the lease table, so that no renewal comes through, until hung up on."""

    def hold() -> None:
        with StoreLock(path, 30).held():
            line.say("held", now())
            line.hear()

    await asyncio.to_thread(hold)


def shares(trials: int) -> list[tuple[int, int]]:
    """Return, by process, the number of its first lease and how many it has."""
    return [(first, min(HELD, trials - first)) for first in range(0, trials, HELD)]


def cut_off(backend: str, trials: int, *, forgetful: bool = False) -> tuple[list[str], float]:
    """Block all renewals; return what is wrong, and how many seconds after its deadline the last loss was known."""
    wrong, latest = [], 0.0
    with folder() as where:
        url = url_in(backend, where)
        with actors(Actor(holder, url, *share, forgetful) for share in shares(trials)) as holders:
            for one in holders:
                one.words()
            with Actor(blocker, where / TABLES[backend]) as wall:
                since = float(wall.words()[1])
                for one in holders:
                    while (words := one.words()) != ["all"]:
                        deadline, moment = map(float, words)
                        latest = max(latest, moment - deadline)
                        # What was answered had been sent before the wall stood.
                        if deadline > since + TTL or moment > since + TTL + TURN:
                            wrong.append(f"believed {moment - since:.3f} s after it was cut off, with a TTL of {TTL} s")
                wall.line.say("let go")
    return wrong, latest


def dead(backend: str, trials: int) -> tuple[list[str], float]:
    """Kill holders; return what is wrong, and how many seconds after the kill the last key was seen to vanish."""
    late, latest = [], 0.0
    with folder() as where:
        url = url_in(backend, where)
        with actors(Actor(holder, url, *share, False) for share in shares(trials)) as holders:
            for one in holders:
                one.words()
            with Actor(watcher, url, trials) as one:
                one.words()
                killed = now()
                for each in holders:
                    each.signal(signal.SIGKILL)
                for _ in range(trials):
                    key, moment = one.words()
                    latest = max(latest, float(moment) - killed)
                    if float(moment) - killed > TTL + GRACE:
                        late.append(f"{key} outlived its holder by {float(moment) - killed:.3f} s")
    # One in a hundred may be late: a bound for a machine with other work.
    return (late if len(late) > trials / 100 else []), latest


def on(backend: str, trials: int) -> Iterator[Outcome]:
    """Make so many trials of both kinds on a backend."""
    wrong, latest = cut_off(backend, trials)
    yield Outcome(backend, trials, tuple(wrong), f"cut off: known {latest:.3f} s after the deadline at the latest")
    wrong, latest = dead(backend, trials)
    note = f"killed: keys gone {latest:.2f} s later at the latest, with a TTL of {TTL} s"
    yield Outcome(backend, trials, tuple(wrong), note)


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many trials of both kinds on each backend; nothing in them is left to chance."""
    del seed
    for backend in BACKENDS:
        yield from on(backend, trials)


CAMPAIGN = Campaign(
    "lease_bound",
    "A holder that is cut off knows within the TTL; the keys of a dead one are gone within the TTL and two seconds.",
    run,
    full=200,
    part=40,
    needs=("linux",),
)
