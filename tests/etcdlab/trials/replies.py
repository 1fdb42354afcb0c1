"""Lost replies: the server did it, the answer never came, and the client must say neither yes nor no.

Each trial writes once through a proxy. Most lose the reply of a call that was carried out; the others lose the
request. What the client was told is compared with what another handle, past the proxy, finds afterwards.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordstore import open_store
from coordstore.errors import CoordError, OutcomeUnknown, Unavailable
from coordstore.model import Append, Check, Put
from tests.etcdlab.proxy import Proxy, Way
from tests.etcdlab.tally import Tally

if TYPE_CHECKING:
    import random

    from coordstore import CoordStore
    from tests.etcdlab.server import Server

__all__ = ["lost_replies"]

PATIENCE: Final = 30.0
KINDS: Final = ("put", "swap", "create", "delete", "append", "transact", "resolvable", "resolvable")
FATES: Final = ("reply cut",) * 16 + ("reply stalled", "request lost", "request lost", "request lost")


@dataclass
class Trial:
    """One write whose reply, or request, is lost.

    Args:
        store: The handle behind the proxy.
        direct: The handle past it.
        proxy: Where it happens.
        kind: What is written.
        fate: What is lost.
        name: Of its key and its stream.
    """

    store: CoordStore
    direct: CoordStore
    proxy: Proxy
    kind: str
    fate: str
    name: str

    async def write(self, before: int) -> int:
        """Do the write that is to be disturbed, on a key whose revision is known; return its revision."""
        store, key, value = self.store, f"k/{self.name}", b"new"
        if self.kind == "put":
            return await store.put(key, value)
        if self.kind == "swap":
            return await store.put(key, value, expect=before)
        if self.kind == "create":
            return await store.create(f"{key}/new", value)
        if self.kind == "delete":
            return int(await store.delete(key, expect=before))
        if self.kind == "append":
            return await store.append(f"s/{self.name}", [value])
        return await store.transact(
            [Put(key, value), Put(f"{key}/new", value)],
            [Check(key, revision=before)],
            [Append(f"s/{self.name}", value)],
            resolvable=self.kind == "resolvable",
        )

    async def applied(self) -> int:
        """Return how often the write took effect, by what is there now; more than once shows in a stream."""
        key = f"k/{self.name}"
        if self.kind == "append":
            return len(await self.direct.read(f"s/{self.name}"))
        if self.kind == "create":
            return int(await self.direct.get(f"{key}/new") is not None)
        entry = await self.direct.get(key)
        if self.kind == "delete":
            return int(entry is None)
        once = int(entry is not None and entry.value == b"new")
        if self.kind in ("put", "swap"):
            return once
        parts = [await self.direct.get(f"{key}/new") is not None, len(await self.direct.read(f"s/{self.name}"))]
        return once if parts == [once, once] else max(2, *map(int, parts))

    def disturb(self) -> None:
        """Arrange for the loss."""
        if self.fate == "request lost":
            self.proxy.requests = Way.LOST
        else:
            self.proxy.lose_next_reply(stall=self.fate == "reply stalled")

    async def run(self, tally: Tally) -> None:
        """Write, then compare."""
        before = await self.direct.put(f"k/{self.name}", b"old")
        async with asyncio.timeout(PATIENCE):
            await until_usable(self.store)
        self.disturb()
        told, op = await self._told(before)
        losses, self.proxy.losses = self.proxy.losses, 0
        lost = losses or self.fate == "request lost"
        self.proxy.heal()
        tally.trials += 1
        tally.counts[f"{self.fate}"] += 1
        times = await self.applied()
        at = f"trial {self.name}, {self.kind}, {self.fate}: told {told}, took effect {times} times"
        tally.check(lost, f"{at}; nothing was lost")
        tally.check(times == int(self.fate != "request lost"), f"{at}; wrong number")
        if told == "ok":
            tally.check(times == 1, f"{at}; acknowledged, not there")
        elif told != "unknown":
            tally.check(times == 0, f"{at}; a false failure")
        if op is not None:
            await self._resolve(tally, op, at, times)

    async def _told(self, before: int) -> tuple[str, str | None]:
        try:
            await self.write(before)
        except OutcomeUnknown as error:
            return "unknown", error.op
        except CoordError as error:
            return type(error).__name__, None
        return "ok", None

    async def _resolve(self, tally: Tally, op: str, at: str, times: int) -> None:
        found = await self.direct.resolve(op)
        entry = await self.direct.get(f"k/{self.name}")
        tally.counts["resolved"] += 1
        tally.check(found.applied == bool(times), f"{at}; resolved as {found}")
        if found.applied:
            tally.check(entry is not None and found.revision == entry.revision, f"{at}; resolved as {found}")


async def until_usable(store: CoordStore) -> None:
    """Wait until the handle behind the proxy answers again."""
    while True:
        try:
            await store.get("k")
        except Unavailable:
            continue
        return


async def lost_replies(server: Server, prefix: str, trials: int, rng: random.Random) -> Tally:
    """Make so many trials against one server."""
    tally = Tally()
    async with (
        Proxy(server.host, server.port) as proxy,
        open_store(f"etcd://{proxy.endpoint}/{prefix}?timeout=1") as store,
        open_store(f"etcd://{server.endpoint}/{prefix}") as direct,
    ):
        # The client's own lease and slots are there before anything is lost.
        await store.transact([Put("first", b"")], resolvable=True)
        for number in range(trials):
            await Trial(store, direct, proxy, rng.choice(KINDS), rng.choice(FATES), str(number)).run(tally)
    return tally
