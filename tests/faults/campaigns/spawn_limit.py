"""Twenty spawns against a limit of eight from three processes: eight at once, never nine, also when one is killed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore import open_store
from tests.children import Child
from tests.faults.campaign import Campaign, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CAMPAIGN"]

LIMIT: Final = 8
SHARES: Final = (7, 7, 6)
SPAWN = """
    from coordstore.recipes import Semaphore

    async def spawn(store):
        async with await Semaphore(store, "workers", int(ARGS[1]), ttl=2).acquire() as permit:
            # Between the two records the permit is held for certain; all of the first wave wait for each other.
            await store.append("log", [permit.key.encode()], fence=permit.fence)
            while (await store.heads("log"))["log"] < int(ARGS[1]):
                await asyncio.sleep(0.01)
            await store.append("log", [b"-" + permit.key.encode()], fence=permit.fence)

    async with opened("?durability=process") as store:
        say("ready")
        await heard()
        await asyncio.gather(*(spawn(store) for _ in range(int(ARGS[0]))))
        say("done")
"""


async def log_of(scheme: str, path: str) -> list[str]:
    """Return who came and went, in the store's order."""
    async with open_store(f"{scheme}:{path}") as store:
        return [record.data.decode() for record in await store.read("log")]


def at_once(log: list[str]) -> int:
    """Return how many held a permit at once, at most."""
    inside, most = 0, 0
    for key in log:
        inside += -1 if key.startswith("-") else 1
        most = max(most, inside)
    return most


def trial(scheme: str, path: str, kill: bool, chance: random.Random) -> str:
    """Spawn once; return what was wrong."""
    with contextlib.ExitStack() as stack:
        children = [Child(scheme, SPAWN, path, str(share), str(LIMIT)) for share in SHARES]
        for child in children:
            stack.callback(child.end)
            child.line()
        for child in children:
            child.tell("go")
        killed = chance.randrange(len(children)) if kill else None
        if killed is not None:
            children[killed].signal(signal.SIGKILL)
        ended = [child.line() for n, child in enumerate(children) if n != killed]
    log = asyncio.run(log_of(scheme, path))
    spawned = sum(not key.startswith("-") for key in log)
    wanted = sum(share for n, share in enumerate(SHARES) if n != killed)
    if set(ended) != {"done"} or spawned < wanted:
        return f"{spawned} of {wanted} were spawned, {ended}"
    most = at_once(log)
    return "" if most == LIMIT or (kill and most < LIMIT) else f"{most} at once: {log}"


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Spawn so many times, a process killed every other time."""
    for scheme in ("sqlite", "file"):
        chance = random.Random(seed)
        with tempfile.TemporaryDirectory() as folder:
            found = [trial(scheme, str(Path(folder) / f"store{n}"), n % 2 == 1, chance) for n in range(trials)]
        failures = tuple(f"spawn {n}: {wrong}" for n, wrong in enumerate(found) if wrong)
        yield Outcome(scheme, trials, failures, "20 spawns, limit 8, three processes")


CAMPAIGN = Campaign("spawn-limit", "Eight of twenty run at once, and never nine.", run, full=50, part=2)
