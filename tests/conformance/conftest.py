"""An etcd of the tests' own."""

from __future__ import annotations

import itertools
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = itertools.count()


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def etcd_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    etcd = shutil.which("etcd")
    if etcd is None:
        pytest.skip("declared: no etcd")
    folder = tmp_path_factory.mktemp("etcd")
    client, peer = f"127.0.0.1:{_port()}", f"127.0.0.1:{_port()}"
    argv = [etcd, "--data-dir", str(folder / "data"), "--heartbeat-interval", "10", "--election-timeout", "100"]
    argv += ["--listen-client-urls", f"http://{client}", "--advertise-client-urls", f"http://{client}"]
    argv += ["--listen-peer-urls", f"http://{peer}", "--initial-advertise-peer-urls", f"http://{peer}"]
    argv += ["--initial-cluster", f"default=http://{peer}"]
    with (folder / "log").open("wb") as log, subprocess.Popen(argv, stdout=log, stderr=log) as server:
        yield client
        server.kill()


@pytest.fixture
def etcd_prefix(etcd_endpoint: str) -> str:
    return f"etcd://{etcd_endpoint}/t{next(_numbers)}"
