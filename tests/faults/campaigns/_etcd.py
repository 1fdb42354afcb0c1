"""What the etcd campaigns share: a server or cluster for the time of a campaign, and a tally as a row."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.etcdlab.cluster import Cluster
from tests.etcdlab.finding import program
from tests.etcdlab.network import Network
from tests.etcdlab.server import Options, Server
from tests.faults.campaign import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.etcdlab.tally import Tally

__all__ = ["NEEDS", "cluster_apart", "one_server", "row"]

NEEDS: Final = ("linux", "root", "etcd", "ip", "iptables")
"""What a cluster in network namespaces needs."""


def etcd() -> str:
    """Return the etcd that may be killed."""
    found = program(to_be_killed=True)
    assert found is not None, "no etcd on PATH"
    return found


@contextlib.contextmanager
def one_server(**options: object) -> Iterator[Server]:
    """Yield a server without peers."""
    with tempfile.TemporaryDirectory(prefix="coordlab-") as folder:
        chosen = Options(**{"heartbeat": 10, "election": 100, **options})  # type: ignore[arg-type]
        with Server(etcd(), Path(folder), chosen) as server:
            yield server


@contextlib.contextmanager
def cluster_apart(size: int = 3, **options: object) -> Iterator[tuple[Network, Cluster]]:
    """Yield members in network namespaces of their own, on a switch on which this process is, too."""
    names = [f"n{number}" for number in range(size)]
    with Network(names) as network, tempfile.TemporaryDirectory(prefix="coordlab-") as folder:
        nodes = [network[name] for name in names]
        with Cluster(etcd(), Path(folder), size, Options(**options), nodes) as cluster:  # type: ignore[arg-type]
            yield network, cluster


def row(tally: Tally) -> Outcome:
    """Return what a tally showed."""
    return Outcome("etcd", tally.trials, tuple(tally.failures), tally.note)
