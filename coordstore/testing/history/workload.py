"""Seeded random workloads: many clients on few keys, with everything the contract has.

Keys come in groups, so that transactions tie few of them together, and in epochs, so that no key has more
operations than tier B takes on. In an epoch there are three groups of three keys for plain writes and
transactions, a group whose keys hang on leases, one that is deleted by prefix, two resources that one client at a
time holds and writes under a fence, and two streams.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordstore.errors import Conflict, CoordError, OutcomeUnknown
from coordstore.model import Append, Check, Delete, Put
from coordstore.testing.history.recording import RecordingStore

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from coordstore.store import CoordStore, Lease
    from coordstore.testing.history.record import Recorder

    Hook = Callable[[random.Random], Awaitable[object]]

__all__ = ["Shape", "work"]

WEIGHTS: Final = {
    "get": 16,
    "list_group": 5,
    "list_page": 1,
    "put": 10,
    "create": 5,
    "swap": 10,
    "delete": 4,
    "remove": 2,
    "transfer": 9,
    "put_leased": 4,
    "sweep_prefix": 1,
    "append": 6,
    "append_both": 2,
    "read": 5,
    "heads": 1,
    "claim": 5,
    "guarded": 10,
    "renew": 3,
    "revoke": 2,
    "resolve": 2,
}
"""How often each kind of operation is chosen."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a workload is like.

    Args:
        seed: Decides all random choices.
        clients: How many, over all processes.
        operations: How many, over all clients and processes.
        epoch: After so many operations clients go over to new keys.
        ttl: Seconds of the leases.
        root: Prefix of all keys and streams.
        processes: How many processes share the work.
        process: Which of them this is.
        lives: How many processes follow one another in each place, when they are killed.
        life: Which of them this is.
        patience: Seconds after which a watch that has not delivered the end counts as hanging.
    """

    seed: int = 0
    clients: int = 16
    operations: int = 400
    epoch: int = 400
    ttl: int = 3
    root: str = "h"
    processes: int = 1
    process: int = 0
    lives: int = 1
    life: int = 0
    patience: float = 10.0

    @property
    def names(self) -> list[str]:
        """The clients of this process."""
        again = f".{self.life}x" if self.life else ""
        return [f"c{number}{again}" for number in range(self.process, self.clients, self.processes)]

    @property
    def share(self) -> range:
        """The operations of this process, numbered over all its lives."""
        each = self.operations // self.processes // self.lives
        return range(each * self.life, each * (self.life + 1))

    def random(self, what: object) -> random.Random:
        """Return a source of choices of its own."""
        return random.Random(f"{self.seed}/{what}")  # noqa: S311 - reproducible choices, not secrets


class Client:
    """One client: it remembers the revisions, leases and tokens it saw, also when they are out of date.

    Args:
        store: The store, recorded in this client's name.
        name: Its name.
        shape: The workload.
        pace: How many operations all clients of this process have done, shared between them.
    """

    def __init__(self, store: RecordingStore, name: str, shape: Shape, pace: list[int]) -> None:
        self._store = store
        self._name = name
        self._shape = shape
        self._pace = pace
        self.random = shape.random(name)
        self._made = 0
        self._known: defaultdict[str, int] = defaultdict(int)
        self._leases: list[Lease] = []
        self._tokens: dict[str, list[int]] = defaultdict(list)
        self._unknown: list[str] = []

    async def step(self) -> None:
        """Do one operation; what the store refuses is part of the history."""
        kind = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        if self._unknown and self.random.random() < 0.5:
            kind = "resolve"
        action: Callable[[], Coroutine[object, object, None]] = getattr(self, f"_{kind}")
        try:
            await action()
        except Conflict as conflict:
            self._known.update(conflict.revisions)
        except OutcomeUnknown as error:
            self._unknown += [error.op] if error.op else []
        except CoordError:
            # It is recorded; whether it was justified is for the check to say.
            return

    # --- names and values -------------------------------------------------------------------------------

    @property
    def _epoch(self) -> str:
        return f"{self._shape.root}/e{self._pace[0] * self._shape.processes // self._shape.epoch}"

    def _key(self, group: str | None = None) -> str:
        return f"{self._epoch}/{group or self._group()}/k{self.random.randrange(3)}"

    def _group(self) -> str:
        return f"g{self.random.randrange(3)}"

    def _stream(self) -> str:
        return f"{self._epoch}/s{self.random.randrange(2)}"

    def _resource(self) -> str:
        return f"{self._epoch}/r{self.random.randrange(2)}"

    def _value(self) -> bytes:
        self._made += 1
        return f"{self._name}:{self._made}".encode()

    # --- keys -------------------------------------------------------------------------------------------

    async def _get(self) -> None:
        key = self._key(self.random.choice(["g0", "g1", "g2", "l", "d"]))
        entry = await self._store.get(key)
        self._known[key] = entry.revision if entry else 0

    async def _list_group(self) -> None:
        listing = await self._store.list(f"{self._epoch}/{self._group()}")
        self._known.update((entry.key, entry.revision) for entry in listing.entries)

    async def _list_page(self) -> None:
        after = self._key() if self.random.random() < 0.5 else None
        await self._store.list(self._epoch, self.random.randrange(1, 9), after, self.random.random() < 0.3)

    async def _put(self) -> None:
        key = self._key(self.random.choice(["g0", "g1", "g2", "d"]))
        self._known[key] = await self._store.put(key, self._value())

    async def _create(self) -> None:
        key = self._key()
        self._known[key] = await self._store.create(key, self._value())

    async def _swap(self) -> None:
        key = self._key()
        self._known[key] = await self._store.put(key, self._value(), expect=self._known[key])

    async def _delete(self) -> None:
        key = self._key()
        await self._store.delete(key, expect=self._known[key] or None)
        self._known[key] = 0

    async def _remove(self) -> None:
        await self._store.transact([Delete(self._key())])

    async def _transfer(self) -> None:
        group = self._group()
        keys = [
            f"{self._epoch}/{group}/k{number}" for number in self.random.sample(range(3), self.random.choice([2, 3]))
        ]
        value = self._value()
        writes = [Delete(key) if self.random.random() < 0.15 else Put(key, value) for key in keys]
        checks = [Check(key, revision=self._known[key]) for key in keys if self.random.random() < 0.3]
        appends = [Append(self._stream(), value)] if self.random.random() < 0.3 else []
        resolvable = self.random.random() < 0.3
        revision = await self._store.transact(writes, checks, appends, resolvable=resolvable)
        self._known.update((write.key, revision if isinstance(write, Put) else 0) for write in writes)

    async def _sweep_prefix(self) -> None:
        await self._store.delete_prefix(f"{self._epoch}/d")

    async def _resolve(self) -> None:
        if self._unknown:
            await self._store.resolve(self._unknown.pop())
        else:
            await self._get()

    # --- streams ----------------------------------------------------------------------------------------

    async def _append(self) -> None:
        await self._store.append(self._stream(), [self._value() for _ in range(self.random.choice([1, 1, 2, 3]))])

    async def _append_both(self) -> None:
        value = self._value()
        await self._store.transact(appends=[Append(f"{self._epoch}/s{number}", value) for number in (1, 0)])

    async def _read(self) -> None:
        stream = self._stream()
        head = (await self._store.heads(stream)).get(stream, 0)
        after = self.random.choice([0, head // 2, head])
        await self._store.read(stream, after, self.random.choice([None, None, 1, 5]))

    async def _heads(self) -> None:
        await self._store.heads(self._epoch)

    # --- leases -----------------------------------------------------------------------------------------

    async def _put_leased(self) -> None:
        lease = await self._lease()
        await self._store.transact([Put(self._key("l"), self._value(), lease)])

    async def _claim(self) -> None:
        resource = self._resource()
        lease = await self._store.grant(self._shape.ttl)
        self._leases.append(lease)
        self._tokens[resource].append(await self._store.create(f"{resource}/holder", self._value(), lease))

    async def _guarded(self) -> None:
        resource = self._resource()
        tokens = self._tokens[resource]
        if not tokens:
            return await self._claim()
        fence = (f"{resource}/holder", self.random.choice(tokens[-2:]))
        if self.random.random() < 0.4:
            await self._store.append(f"{resource}/log", [self._value()], fence=fence)
        else:
            await self._store.put(f"{resource}/data", self._value(), fence=fence)
        return None

    async def _renew(self) -> None:
        await (await self._lease()).renew()

    async def _revoke(self) -> None:
        lease = await self._lease()
        if self.random.random() < 0.7:
            self._leases.remove(lease)
        await lease.revoke()

    async def _lease(self) -> Lease:
        if not self._leases or self.random.random() < 0.2:
            self._leases.append(await self._store.grant(self._shape.ttl))
        return self.random.choice(self._leases[-3:])


async def work(stores: Sequence[CoordStore], recorder: Recorder, shape: Shape, hook: Hook | None = None) -> None:
    """Let this process's clients do their share of the operations.

    Args:
        stores: Handles on one store that was empty before; the clients spread over them.
        recorder: Where to write.
        shape: What to do.
        hook: Called between operations with a source of choices: injects faults, lets time pass, gives way.
    """
    pace = [shape.share.start]

    async def live(name: str, store: CoordStore) -> None:
        client = Client(RecordingStore(store, recorder, name), name, shape, pace)
        while pace[0] < shape.share.stop:
            pace[0] += 1
            await client.step()
            await (asyncio.sleep(0) if hook is None else hook(client.random))

    async with asyncio.TaskGroup() as group:
        for number, name in enumerate(shape.names):
            group.create_task(live(name, stores[number % len(stores)]), name=name)
