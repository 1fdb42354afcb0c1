"""What breaks a cluster: leaders killed or stopped, members and clients cut off in the network."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from tests.etcdlab.network import HOST

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.etcdlab.cluster import Cluster
    from tests.etcdlab.network import Network
    from tests.etcdlab.server import Server

__all__ = ["Killer", "Parter", "Stopper", "broken_by_a_pause"]


@dataclass
class Mending:
    """What every fault ends with.

    Args:
        cluster: What is broken.
        lasts: Seconds that a fault lasts.
    """

    cluster: Cluster
    lasts: float = 1.0

    async def heal(self) -> None:
        """Let every member run, and wait for all."""
        for server in self.cluster.servers:
            if server.process is None:
                server.start()
            else:
                server.cont()
        await asyncio.to_thread(self.cluster.ready)

    async def leader(self) -> Server:
        """Wait for a leader and return it."""
        return await asyncio.to_thread(self.cluster.leader)


class Killer(Mending):
    """Kills the leader with -9 and starts it again."""

    async def trouble(self, number: int, rng: random.Random) -> str:
        """Make one fault."""
        leader = await self.leader()
        leader.kill()
        await asyncio.sleep(self.lasts * rng.random())
        leader.start()
        return "leaders killed"


class Stopper(Mending):
    """Stops the leader with SIGSTOP and lets it go on."""

    async def trouble(self, number: int, rng: random.Random) -> str:
        """Make one fault."""
        leader = await self.leader()
        leader.stop()
        try:
            await asyncio.sleep(self.lasts * (0.5 + rng.random()))
        finally:
            leader.cont()
        return "leaders stopped"


@dataclass
class Parter(Mending):
    """Cuts members from one another, or this process from members.

    Args:
        network: Where they are.
    """

    network: Network | None = None

    async def heal(self) -> None:
        """Join everything again."""
        assert self.network is not None
        self.network.heal()
        await super().heal()

    async def trouble(self, number: int, rng: random.Random) -> str:
        """Make one fault: each kind in turn."""
        assert self.network is not None
        leader = await self.leader()
        others = [server.name for server in self.cluster.servers if server is not leader]
        rng.shuffle(others)
        what, cuts = list(PARTITIONS.items())[number % len(PARTITIONS)]
        try:
            for source, target in cuts(leader.name, others):
                self.network.drop(source, target)
            await asyncio.sleep(self.lasts * (0.5 + rng.random()))
        finally:
            self.network.heal()
        return what


Cuts: TypeAlias = "Callable[[str, list[str]], list[tuple[str, str]]]"


def both(*pairs: tuple[str, str]) -> list[tuple[str, str]]:
    """Return the pairs and their reverse."""
    return [*pairs, *((two, one) for one, two in pairs)]


def broken_by_a_pause(server: Server) -> frozenset[str]:
    """Return what a server of this version gets wrong by itself when its leader was stopped and goes on.

    Before it learns that it leads no more, an old one revokes the leases whose renewals it missed: seen on 3.4.23, and
    counted apart on every version below the minimum that docs/etcd.md names.
    """
    version = server.gateway().status()["version"]
    old = tuple(int(part) for part in version.split(".")[:3]) < (3, 5, 33)
    return frozenset({"lease ended early", "lease lost early"}) if old else frozenset()


PARTITIONS: Final[dict[str, Cuts]] = {
    "leader <> members": lambda leader, others: both(*((leader, other) for other in others)),
    "leader > members": lambda leader, others: [(leader, other) for other in others],
    "members > leader": lambda leader, others: [(other, leader) for other in others],
    "follower <> members": lambda leader, others: both((others[0], leader), (others[0], others[1])),
    "follower <> leader": lambda leader, others: both((others[0], leader)),
    "follower > leader": lambda leader, others: [(others[0], leader)],
    "client <> leader": lambda leader, _: both((HOST, leader)),
    "client > leader": lambda leader, _: [(HOST, leader)],
    "leader > client": lambda leader, _: [(leader, HOST)],
    "client <> follower": lambda _, others: both((HOST, others[0])),
    "client <> all": lambda leader, others: both(*((HOST, each) for each in (leader, *others))),
    "all > client": lambda leader, others: [(each, HOST) for each in (leader, *others)],
}
"""Whose packets to whom are lost: ``<>`` both ways, ``>`` only what the left one sends."""
