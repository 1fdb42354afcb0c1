"""Fixtures that hand an etcd to a test; ``tests/conftest.py`` makes them known everywhere under tests."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

import pytest

from tests.etcdlab.cluster import Cluster
from tests.etcdlab.container import answers, container
from tests.etcdlab.finding import find, none_here, program
from tests.etcdlab.gateway import Gateway
from tests.etcdlab.server import Options, Server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["etcd_cluster", "etcd_endpoint", "etcd_program", "etcd_server", "etcd_url", "start_etcd"]

ALONE = Options(heartbeat=10, election=100)
"""How a server without peers runs: it is ready at once, and nobody can vote against it."""


@pytest.fixture(scope="session")
def etcd_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the endpoint of the etcd that all functional tests share; nobody stops it or compacts it."""
    found = find()
    if found is None:
        none_here("no etcd to test with")
    if found.kind == "endpoint":
        assert answers(found.where), f"COORD_TEST_ETCD: no etcd answers on {found.where}"
        yield found.where
    elif found.kind == "container":
        with container(found.where) as endpoint:
            yield endpoint
    else:
        with Server(found.where, tmp_path_factory.mktemp("etcd"), ALONE) as server:
            yield server.endpoint


@pytest.fixture
def etcd_url(etcd_endpoint: str) -> Iterator[str]:
    """Yield the URL of an empty store on the shared etcd; what the test wrote is removed afterwards."""
    prefix = f"t{secrets.token_hex(6)}"
    here = etcd_endpoint.startswith(("127.", "localhost:"))
    yield f"etcd://{etcd_endpoint}/{prefix}{'' if here else '?insecure=1'}"
    Gateway(f"http://{etcd_endpoint}").delete(prefix)


@pytest.fixture(scope="session")
def etcd_program() -> str:
    """Return the etcd that a test may start, stop and kill."""
    return program(to_be_killed=True) or none_here("no etcd on PATH that may be killed")


@pytest.fixture
def start_etcd(etcd_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Server]]:
    """Return what starts a server of the test's own and waits for it; its arguments are those of Options."""
    with contextlib.ExitStack() as stack:

        def start(**options: object) -> Server:
            chosen = Options(**{"heartbeat": 10, "election": 100, **options})  # type: ignore[arg-type]
            return stack.enter_context(Server(etcd_program, tmp_path_factory.mktemp("etcd"), chosen))

        yield start


@pytest.fixture
def etcd_server(start_etcd: Callable[..., Server]) -> Server:
    """Return a server of the test's own."""
    return start_etcd()


@pytest.fixture
def etcd_cluster(etcd_program: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Yield three members on loopback, of the test's own."""
    with Cluster(etcd_program, tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
