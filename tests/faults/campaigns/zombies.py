"""Holders of a lease that are stopped past its end and wake up: nothing they write under their token lands."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final

from coordstore import open_store
from coordstore.errors import CoordError, Unavailable
from tests.faults.campaign import Campaign, Outcome
from tests.faults.holding import held
from tests.faults.stage import BACKENDS, Actor, actors, folder, now, url_in

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from coordstore import CoordStore
    from tests.faults.stage import Line

TTL: Final = 3
AT_ONCE: Final = 25
"""Holders that are stopped at the same time."""
REFUSED: Final = {"Fenced", "LeaseLost"}


async def holder(line: Line, url: str, name: str, honest: bool) -> None:
    """Hold a lock, keep it renewed; when told to go on, write under the token as if nothing had happened."""
    async with open_store(url) as store, AsyncExitStack() as stack:
        lease, token = await held(store, f"lock/{name}", TTL, stack)
        line.say(token)
        await line.heard()
        fence = (f"lock/{name}", token) if honest else None
        attempts: list[Callable[[], Awaitable[object]]] = [
            lambda: store.put(f"data/{name}", b"zombie", fence=fence),
            lambda: store.append(f"log/{name}", [b"zombie"], fence=fence),
            lambda: store.put(f"on/{name}", b"zombie", lease=lease),
            lease.renew,
        ]
        outcomes = [await outcome(attempt) for attempt in attempts]
        line.say(lease.lost, lease.deadline, *outcomes)


async def outcome(attempt: Callable[[], Awaitable[object]]) -> str:
    """Return how an attempt ended, in a word; one that did not even get the store's lock is made again."""
    while True:
        try:
            await attempt()
        except Unavailable:
            continue
        except CoordError as error:
            return type(error).__name__
        return "accepted"


def stop(holders: list[Actor], url: str) -> None:
    """Stop all holders at a moment when none of them holds one of the store's locks, for then all would stand still."""
    for _ in range(100):
        for one in holders:
            one.signal(signal.SIGSTOP)
        if asyncio.run(usable(url)):
            return
        for one in holders:
            one.signal(signal.SIGCONT)
        time.sleep(0.05)
    message = "every time the holders were stopped, one of them held the store's lock"
    raise RuntimeError(message)


async def usable(url: str) -> bool:
    """Tell whether one can write and grant."""
    try:
        async with open_store(f"{url}?lock_wait=1") as store:
            await store.put("probe", b"")
            await (await store.grant(TTL)).revoke()
    except Unavailable:
        return False
    return True


async def take_over(store: CoordStore, name: str, old: int) -> tuple[int, float]:
    """Wait until the lock is free, take it and write under it; return the new token and when it was taken."""
    async with aclosing(store.watch(f"lock/{name}", since=old)) as feed:
        async for batch in feed:
            if any(change.entry is None for change in batch.changes):
                break
    taken = now()
    token = await store.create(f"lock/{name}", b"heir")
    await store.put(f"data/{name}", b"heir", fence=(f"lock/{name}", token))
    await store.append(f"log/{name}", [b"heir"], fence=(f"lock/{name}", token))
    return token, taken


async def judged(store: CoordStore, name: str, tokens: list[int], taken: float, said: list[str]) -> list[str]:
    """Return what is wrong with one trial."""
    lost, deadline, put, append, leased, renew = said
    wrong = []
    if lost != "True":
        wrong.append("it did not know that its lease was lost")
    if not {put, append, leased, renew} <= REFUSED:
        wrong.append(f"its writes ended {put}, {append}, {leased}, {renew}")
    if taken < float(deadline):
        wrong.append(f"taken over {float(deadline) - taken:.3f} s before the lease's end")
    if tokens != sorted(set(tokens)):
        wrong.append(f"tokens {tokens}")
    entry, log = await store.get(f"data/{name}"), await store.read(f"log/{name}")
    if entry is None or entry.value != b"heir" or any(record.data != b"heir" for record in log):
        wrong.append("its data is there")
    return [f"{name}: {each}" for each in wrong]


def wave(url: str, names: list[str], tokens: dict[str, list[int]], *, honest: bool) -> list[str]:
    """Stop so many holders at once, let heirs take over, wake the zombies; return what is wrong."""
    with actors(Actor(holder, url, name, honest) for name in names) as holders:
        for name, one in zip(names, holders, strict=True):
            tokens[name].append(int(one.words()[0]))
        stop(holders, url)
        return asyncio.run(heirs(url, names, tokens, holders))


async def heirs(url: str, names: list[str], tokens: dict[str, list[int]], holders: list[Actor]) -> list[str]:
    """Take over, wake the zombies, judge, and leave the locks free."""
    wrong = []
    async with open_store(url) as store:
        taken = await asyncio.gather(*(take_over(store, name, tokens[name][-1]) for name in names))
        for one in holders:
            one.signal(signal.SIGCONT)
            one.line.say("go on")
        for name, one, (token, moment) in zip(names, holders, taken, strict=True):
            tokens[name].append(token)
            said = await asyncio.to_thread(one.words)
            wrong += await judged(store, name, tokens[name], moment, said)
        await store.delete_prefix("lock")
    return wrong


def on(backend: str, trials: int, *, honest: bool = True) -> Outcome:
    """Make so many trials on a backend; the store is opened anew for each wave."""
    wrong: list[str] = []
    with folder() as where:
        url = url_in(backend, where)
        tokens: dict[str, list[int]] = {f"z{number}": [] for number in range(min(trials, AT_ONCE))}
        for begun in range(0, trials, AT_ONCE):
            wrong += wave(url, list(tokens)[: trials - begun], tokens, honest=honest)
    return Outcome(backend, trials, tuple(wrong), f"{trials - len(wrong)} of {trials} refused")


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many zombies on each backend; nothing in it is left to chance."""
    del seed
    for backend in BACKENDS:
        yield on(backend, trials)


CAMPAIGN = Campaign(
    "zombies",
    "A holder that was stopped past its lease writes nothing any more; tokens only rise; nobody takes over early.",
    run,
    full=500,
    part=16,
    needs=("linux",),
)
