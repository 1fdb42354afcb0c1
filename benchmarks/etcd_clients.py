"""64 callers at once, against the other Python clients of etcd doing the same, each in an environment of its own."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.environments import python_of
from benchmarks.table import Row, median
from tests.etcdlab.finding import program
from tests.etcdlab.server import Options, Server

__all__ = ["measure"]

CLIENTS: Final = {
    "aetcd": "aetcd",
    "etcd3aio": "etcd3aio",
    "etcd3gw": "etcd3gw",
    "etcd_client_py": "etcd-client-py",
}
"""By loop: the distribution that it needs."""
ROUNDS: Final = 5
SECONDS: Final = 1.0
LOOPS: Final = Path(__file__).with_name("etcd_loops.py")


def measure(scale: float = 1.0, clients: tuple[str, ...] = tuple(CLIENTS)) -> list[Row]:
    """Let every client have a window in turn, round after round, on one server."""
    etcd = program(to_be_killed=True)
    if etcd is None:
        return [Row("etcd: other clients", "", "no etcd on PATH", None)]
    pythons = {"coordstore": sys.executable, **{client: python_of(CLIENTS[client]) for client in clients}}
    rates: dict[str, list[float]] = {client: [] for client in pythons}
    with tempfile.TemporaryDirectory() as name, Server(etcd, Path(name), Options(heartbeat=10, election=100)) as server:
        for _ in range(max(round(ROUNDS * scale), 1)):
            for client, python in pythons.items():
                # -P: the folder of the script holds a module named etcd.
                argv = [python, "-P", str(LOOPS), client, server.endpoint, str(SECONDS * scale)]
                done = subprocess.run(argv, capture_output=True, text=True, check=True)
                rates[client].append(float(done.stdout))
    medians = {client: median(found) for client, found in rates.items()}
    ours = medians.pop("coordstore")
    verdict = ours >= max(medians.values()) if medians else None
    told = ", ".join(f"{client} {rate:,.0f}" for client, rate in medians.items()) or "nobody beside"
    return [Row("etcd: 64 callers at once", "≥ the best other client", f"{ours:,.0f}/s ({told})", verdict)]
