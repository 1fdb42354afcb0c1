"""Histories: clients and watchers on a cluster while something breaks it, judged by the shipped history checker."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from coordstore import open_store
from coordstore.testing.history import History, Recorder, Shape, check, final_phase, observing, work
from tests.etcdlab.tally import Tally

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Coroutine

    from coordstore import CoordStore
    from tests.etcdlab.cluster import Cluster

__all__ = ["Chaos", "Plan", "rotated", "under_chaos"]

HANDLES: Final = 4
WAIT: Final = 40
"""Seconds that who watches waits for a cluster without a leader; an election may take 20 on a busy machine."""


class Chaos(Protocol):
    """What breaks the cluster, again and again, and mends it."""

    async def trouble(self, number: int, rng: random.Random) -> str:
        """Make one fault, let it last, and end it; return what it was."""

    async def heal(self) -> None:
        """End every fault and wait until every member answers."""


@dataclass(frozen=True)
class Plan:
    """How much of it.

    Args:
        faults: How many.
        operations: Of each history; when it is over and faults are left, another begins on an empty prefix.
        clients: How many in each.
        pause: Seconds from one fault to the next, also when that is in the next history.
        ttl: Seconds of the clients' leases.
        seed: Decides all choices.
        timeout: Seconds after which a call gives up.
        known: Rules that this server is known to break by itself under these faults: counted, not failed.
    """

    faults: int
    operations: int = 2_000
    clients: int = 16
    pause: float = 0.5
    ttl: int = 3
    seed: int = 1
    timeout: float = 5.0
    known: frozenset[str] = frozenset()


class Rhythm:
    """When the next fault is due: a history may be over in less than the time between two.

    Args:
        pause: Seconds between faults.
    """

    def __init__(self, pause: float) -> None:
        self._pause = pause
        self.begin()

    def begin(self) -> None:
        self._due = time.monotonic() + self._pause

    async def wait(self) -> None:
        await asyncio.sleep(max(self._due - time.monotonic(), 0))


@contextlib.asynccontextmanager
async def rotated(endpoints: str, prefix: str, options: str, count: int = HANDLES) -> AsyncIterator[list[CoordStore]]:
    """Yield handles on one store, each of which begins with another member."""
    members = endpoints.split(",")
    async with contextlib.AsyncExitStack() as stack:
        urls = [",".join(members[at % len(members) :] + members[: at % len(members)]) for at in range(count)]
        yield [await stack.enter_async_context(open_store(f"etcd://{url}/{prefix}?{options}")) for url in urls]


async def under_chaos(cluster: Cluster, endpoints: str, prefix: str, plan: Plan, chaos: Chaos, options: str) -> Tally:
    """Run histories until all faults were made; judge each."""
    tally = Tally()
    rhythm = Rhythm(plan.pause)
    number = 0
    while tally.trials < plan.faults:
        shape = Shape(
            seed=plan.seed + number,
            clients=plan.clients,
            operations=plan.operations,
            ttl=plan.ttl,
            patience=60.0,
        )
        one = f"{prefix}-{number}"
        async with (
            rotated(endpoints, one, f"timeout={plan.timeout}{options}") as stores,
            rotated(endpoints, one, f"timeout={WAIT}{options}", 2) as watchers,
        ):
            await one_history(tally, stores, watchers, shape, breaker(tally, shape, plan, chaos, rhythm), plan, chaos)
        for server in cluster.servers:
            if server.process is not None:
                # What was judged is of no more use; the next history finds a small database.
                server.gateway().delete(f"{one}:")
                break
        number += 1
    tally.counts["histories"] = number
    return tally


async def one_history(
    tally: Tally,
    stores: list[CoordStore],
    watchers: list[CoordStore],
    shape: Shape,
    faults: Coroutine[Any, Any, None],
    plan: Plan,
    chaos: Chaos,
) -> None:
    """Do one history under faults and judge it."""
    breaking = asyncio.create_task(faults)

    async def heal() -> None:
        breaking.cancel()
        await asyncio.gather(breaking, return_exceptions=True)
        await chaos.heal()

    began, recorder = time.monotonic(), Recorder()
    recorder.note(**asdict(shape))
    try:
        async with observing(watchers, recorder, shape):
            await work(stores, recorder, shape, lambda _: asyncio.sleep(0.001))
            await heal()
            await final_phase(watchers[0], recorder, shape)
    finally:
        await heal()
    history = History(recorder.operations, minimum=shape.operations // 2)
    if not breaking.cancelled() and (error := breaking.exception()):
        raise error
    verdict = check(history)
    excused = [violation for violation in verdict.violations if violation.rule in plan.known]
    sound = not verdict.void and len(excused) == len(verdict.violations)
    tally.check(sound, f"history of seed {shape.seed}:\n{verdict}")
    if excused:
        tally.counts["times etcd's own"] += len(excused)
    tally.counts["operations"] += len(history.calls)
    tally.counts["unknown"] += int(verdict.counts["unknown"])
    tally.counts["acknowledged"] += int(verdict.counts["ok"])
    tally.counts["seconds"] += int(time.monotonic() - began)


async def breaker(tally: Tally, shape: Shape, plan: Plan, chaos: Chaos, rhythm: Rhythm) -> None:
    """Make one fault after the other, as long as there are any to make."""
    rng = shape.random("chaos")
    while tally.trials < plan.faults:
        await rhythm.wait()
        what = await chaos.trouble(tally.trials, rng)
        rhythm.begin()
        tally.trials += 1
        tally.counts[what] += 1
