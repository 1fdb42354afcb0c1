"""Cluster: several members on loopback, or each in a network namespace of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Self

from tests.etcdlab.gateway import GatewayError
from tests.etcdlab.ports import free_ports
from tests.etcdlab.server import PATIENCE, Options, Server, ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

    from tests.etcdlab.network import Node

__all__ = ["Cluster"]

BETWEEN: Final = 0.02


class Cluster:
    """So many members; as a context manager they are started, waited for, and ended.

    Args:
        program: The etcd to run.
        folder: Where data and logs lie.
        size: How many members there are.
        options: How each runs.
        nodes: A namespace for each; on loopback without.
    """

    def __init__(
        self,
        program: str,
        folder: Path,
        size: int = 3,
        options: Options | None = None,
        nodes: Sequence[Node] = (),
    ) -> None:
        hosts = [node.address for node in nodes] or ["127.0.0.1"] * size
        ports = free_ports(len(hosts))
        members = tuple(f"n{i}=http://{host}:{ports[i]}" for i, host in enumerate(hosts))
        self.servers = [
            Server(
                program,
                folder,
                options or Options(),
                name=f"n{i}",
                host=host,
                members=members,
                peer_port=ports[i],
                prefix=nodes[i].prefix if nodes else (),
            )
            for i, host in enumerate(hosts)
        ]

    def __enter__(self) -> Self:
        """Start all members and wait until each answers."""
        try:
            for server in self.servers:
                server.start()
            self.ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End all members."""
        self.end()

    @property
    def endpoints(self) -> str:
        """The members' client endpoints, as a store's URL lists them."""
        return ",".join(server.endpoint for server in self.servers)

    def ready(self, patience: float = PATIENCE) -> None:
        """Wait until every member that runs answers and has a leader."""
        for server in self.servers:
            if server.process is not None:
                server.ready(patience)

    def leader_now(self) -> Server | None:
        """Return the member that most others take for the leader, if one of them says so."""
        votes: dict[str, int] = {}
        ids: dict[str, Server] = {}
        for server in self.servers:
            if server.process is None:
                continue
            try:
                status = server.gateway(patience=1.0).status()
            except (GatewayError, OSError):
                continue
            ids[status["header"]["member_id"]] = server
            if leader := status.get("leader"):
                votes[leader] = votes.get(leader, 0) + 1
        # A member that was just stopped may still be named; only one that answers counts.
        known = sorted((leader for leader in votes if leader in ids), key=lambda leader: votes[leader])
        return ids[known[-1]] if known else None

    def leader(self, patience: float = PATIENCE, *, after: Server | None = None) -> Server:
        """Wait for a leader, for another one than `after` if that is named, and return it."""
        until = time.monotonic() + patience
        while time.monotonic() < until:
            if (found := self.leader_now()) not in (None, after):
                assert found is not None
                return found
            time.sleep(BETWEEN)
        raise ServerError("no leader:\n" + "\n".join(server.last_words()[-800:] for server in self.servers))

    def followers(self) -> list[Server]:
        """Return the members that do not lead."""
        leader = self.leader()
        return [server for server in self.servers if server is not leader]

    def restart(self) -> None:
        """Start every member that does not run, let every stopped one go on, and wait for all."""
        for server in self.servers:
            if server.process is None:
                server.start()
            else:
                server.cont()
        self.ready()

    def end(self) -> None:
        """Kill every member and remove the data."""
        for server in self.servers:
            server.end()
