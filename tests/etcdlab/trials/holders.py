"""Holders: zombies are fenced, who is cut off knows in time, and a storm of leases starves no renewal."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from coordstore import open_store
from coordstore.errors import CoordError, Fenced, LeaseLost, OutcomeUnknown, Unavailable
from tests.etcdlab.proxy import Proxy, Way
from tests.etcdlab.tally import Tally

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Iterable

    from coordstore import CoordStore
    from coordstore.store import Lease
    from tests.etcdlab.server import Server

__all__ = ["cut_off", "lease_storm", "zombies"]

Result = TypeVar("Result")
PATIENCE: Final = 60.0
TURN: Final = 0.01
HOLDER: Final = "r/holder"
DATA: Final = "r/data"


async def zombies(server: Server, prefix: str, trials: int, rng: random.Random) -> Tally:
    """Let a holder write under its fence when another one holds: long after, or held back in the network until then."""
    tally = Tally()
    async with (
        Proxy(server.host, server.port) as proxy,
        open_store(f"etcd://{proxy.endpoint}/{prefix}") as zombie,
        open_store(f"etcd://{server.endpoint}/{prefix}") as other,
    ):
        last = 0
        for number in range(trials):
            trial = Zombie(tally, server, zombie, other, proxy, f"trial {number}")
            last = await trial.run(last, in_flight=rng.random() < 0.7)
            tally.trials += 1
    return tally


@dataclass
class Zombie:
    """One holder that writes too late.

    Args:
        tally: Where to note what was seen.
        server: The etcd.
        store: The zombie's handle, behind the proxy.
        other: The next holder's handle.
        proxy: What holds the write back.
        at: The trial's name.
    """

    tally: Tally
    server: Server
    store: CoordStore
    other: CoordStore
    proxy: Proxy
    at: str

    async def run(self, last: int, *, in_flight: bool) -> int:
        """Make the trial; return the next holder's token, given the one before."""
        lease = await self.store.grant(60)
        token = await self.store.create(HOLDER, b"zombie", lease)
        fence = (HOLDER, token)
        await self.store.put(DATA, b"by %d" % token, fence=fence)
        late: list[asyncio.Task[int]] = []
        if in_flight:
            before = self.proxy.kept
            self.proxy.requests = Way.HELD
            late = [asyncio.create_task(self.store.put(DATA, b"zombie", fence=fence))]
            while self.proxy.kept == before:  # noqa: ASYNC110 - the proxy counts, it does not call
                await asyncio.sleep(TURN)
        new = await self._take_over(lease.id)
        self.proxy.requests = Way.OPEN
        await self._expect_fenced(late[0] if late else self.store.put(DATA, b"zombie", fence=fence))
        entry = await self.other.get(DATA)
        self.tally.check(entry is not None and entry.value == b"by %d" % new, f"{self.at}: found {entry}")
        self.tally.check(last < token < new, f"{self.at}: tokens {last}, {token}, {new}")
        self.tally.counts["in flight" if in_flight else "long after"] += 1
        await self.other.delete(HOLDER)
        return new

    async def _take_over(self, lease: int) -> int:
        """End the holder's lease, as its TTL would, and hold in its place."""
        self.server.gateway().call("lease/revoke", ID=lease)
        new = await self.other.create(HOLDER, b"other")
        await self.other.put(DATA, b"by %d" % new, fence=(HOLDER, new))
        return new

    async def _expect_fenced(self, write: Awaitable[int]) -> None:
        try:
            async with asyncio.timeout(PATIENCE):
                await write
        except Fenced:
            return
        except CoordError as error:
            self.tally.check(False, f"{self.at}: {error!r} instead of Fenced")
            return
        self.tally.check(False, f"{self.at}: a zombie's write was accepted")


async def cut_off(server: Server, prefix: str, trials: int, ttl: int = 2) -> Tally:
    """Cut holders off, in each direction or both; each knows by TTL after the last answer, and before etcd ends it."""
    tally = Tally()
    ways = ((Way.LOST, Way.OPEN), (Way.OPEN, Way.LOST), (Way.LOST, Way.LOST))

    async def trial(number: int) -> None:
        requests, replies = ways[number % len(ways)]
        at = f"trial {number}, requests {requests.name}, replies {replies.name}"
        async with (
            Proxy(server.host, server.port) as proxy,
            open_store(f"etcd://{proxy.endpoint}/{prefix}?timeout=5") as store,
        ):
            while not await one_cut_off(tally, server, prefix, store, proxy, (requests, replies), at, ttl):
                tally.counts["lost before, so not tried"] += 1
        tally.trials += 1

    await in_parallel((trial(number) for number in range(trials)), width=4)
    return tally


async def one_cut_off(
    tally: Tally, server: Server, prefix: str, store: CoordStore, proxy: Proxy, ways: tuple[Way, Way], at: str, ttl: int
) -> bool:
    """Make one trial; return whether it could be made: on a machine that stands still, a lease is rightly lost."""
    key = f"held/{at.split()[1].rstrip(',')}"
    async with contextlib.AsyncExitStack() as stack:
        lease = await stack.enter_async_context(await store.grant(ttl))
        await store.create(key, b"held", lease)
        await asyncio.sleep(ttl / 2)  # a renewal or two have been answered
        lost = lease.lost
        if lost:
            return False
        cut = time.clock_gettime(time.CLOCK_BOOTTIME)
        proxy.requests, proxy.replies = ways
        async with asyncio.timeout(PATIENCE):
            while not lost:
                gone = await asyncio.to_thread(is_gone, server, prefix, key)
                # Looked at in this order, a holder that still believes is one that believes too long.
                lost = lease.lost
                tally.check(lost or not gone, f"{at}: etcd had ended the lease before its holder knew")
                await asyncio.sleep(TURN)
            await lease.wait_lost()
        late = time.clock_gettime(time.CLOCK_BOOTTIME) - lease.deadline
        tally.check(lease.lost, f"{at}: lost, and then not")
        beyond = lease.deadline - (cut + ttl)
        tally.check(beyond <= 0, f"{at}: its deadline is {beyond:.3f} s later than TTL after the cut")
        tally.counts["ms late at most"] = max(tally.counts["ms late at most"], int(late * 1000))
        await expect_refused(tally, store, lease.id, at)
        proxy.heal()
    return True


def is_gone(server: Server, prefix: str, key: str) -> bool:
    """Return whether a key is not in etcd."""
    return not any(name.endswith(f":k/{key}".encode()) for name in server.gateway().range(prefix))


async def expect_refused(tally: Tally, store: CoordStore, lease: int, at: str) -> None:
    """Write on the lost lease: whatever is said, it is not yes."""
    try:
        await store.put("held/late", b"", lease=lease)
    except (LeaseLost, OutcomeUnknown, Unavailable):
        return
    tally.check(False, f"{at}: a write on the lost lease was accepted by somebody it cannot reach")


async def lease_storm(server: Server, prefix: str, leases: int) -> Tally:
    """Grant so many leases with a key each, revoke half of them at once, and let the others end, while one is kept."""
    tally = Tally(trials=1)
    url = server.store_url(prefix)
    async with open_store(url) as store, open_store(url) as other:
        async with await other.grant(5) as kept:
            await other.create("kept", b"", kept)
            granted = await in_parallel(granted_with_key(store, number) for number in range(leases))
            tally.check(not kept.lost, "the kept lease was lost while others were granted")
            await in_parallel(lease.revoke() for lease in granted[::2])
            until = time.monotonic() + PATIENCE
            while await remaining(store) and time.monotonic() < until:  # noqa: ASYNC110 - etcd's doing, seen by looking
                await asyncio.sleep(TURN)
            tally.check(not await remaining(store), f"{await remaining(store)} keys of ended leases are left")
            tally.check(not kept.lost, "the kept lease was lost in the storm")
            tally.check(await other.get("kept") is not None, "the kept lease's key is gone")
            statistics = other.statistics()
        tally.counts["leases"] = leases
        tally.counts["renewals of the kept one"] = int(statistics.get("renewals", 0))
    return tally


async def granted_with_key(store: CoordStore, number: int) -> Lease:
    """Grant a lease with a key on it: every second one ends by itself soon, maybe before it has its key."""
    lease = await store.grant(3 if number % 2 else 600)
    with contextlib.suppress(LeaseLost):
        await store.put(f"k/{number}", b"", lease=lease)
    return lease


async def remaining(store: CoordStore) -> int:
    """Return how many keys of the storm are left."""
    return len((await store.list("k/", keys_only=True)).entries)


async def in_parallel(calls: Iterable[Awaitable[Result]], width: int = 64) -> list[Result]:
    """Await all, so many at a time; return their results in order."""
    places = asyncio.Semaphore(width)

    async def one(call: Awaitable[Result]) -> Result:
        async with places:
            return await call

    return list(await asyncio.gather(*map(one, calls)))
