"""Daemon: a Docker daemon of our own in a network namespace of its own, with an image of etcd; needs root."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tests.etcdlab.finding import listens
from tests.etcdlab.network import Network

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["IMAGE", "Daemon", "daemon"]

IMAGE: Final = "coordlab-etcd:latest"
PATIENCE: Final = 60.0


class Daemon:
    """A running daemon.

    Args:
        socket: Where it listens.
        prefix: The command that starts another one in its network, where its containers' ports are.
    """

    def __init__(self, socket: Path, prefix: tuple[str, ...]) -> None:
        self._socket = socket
        self.prefix = prefix

    @property
    def environment(self) -> Mapping[str, str]:
        """What a process needs to find the daemon and the image; no image of any other kind can be had."""
        return {
            "DOCKER_HOST": f"unix://{self._socket}",
            "TESTCONTAINERS_RYUK_DISABLED": "true",
            "COORD_TEST_ETCD_IMAGE": IMAGE,
        }

    def client(self) -> Any:
        """Return a client of it."""
        import docker  # type: ignore[import-untyped] # it ships no types

        return docker.DockerClient(base_url=f"unix://{self._socket}", timeout=30)

    def started(self) -> int:
        """Return how many containers it has started."""
        with contextlib.closing(self.client()) as client:
            events = client.events(since=0, until=int(time.time()) + 1, filters={"event": "start"}, decode=True)
            return sum(1 for _ in events)

    def answers(self) -> bool:
        """Return whether it answers."""
        import docker

        if not listens(f"unix://{self._socket}"):
            return False
        try:
            with contextlib.closing(self.client()) as client:
                return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False

    def import_etcd(self, program: str) -> None:
        """Make an image that holds a static etcd and nothing else, from no registry."""
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.add(program, "bin/etcd")
        with contextlib.closing(self.client()) as client:
            repository, _, tag = IMAGE.partition(":")
            client.api.import_image_from_data(
                content.getvalue(), repository=repository, tag=tag, changes=["ENV PATH=/bin"]
            )


@contextlib.contextmanager
def daemon(program: str) -> Iterator[Daemon]:
    """Run a daemon that has an image of this static etcd; nothing of it is left at the end."""
    with Network(["docker"]) as network, tempfile.TemporaryDirectory(prefix="coordlab-docker-") as name:
        folder = Path(name)
        node = network["docker"]
        tied = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
        # Not `ip netns exec`, which hides the control groups; mounts of its own, so that none is left.
        inside = ["nsenter", f"--net=/run/netns/{node.namespace}", "unshare", "--mount"]
        words = ["dockerd", "--data-root", f"{folder}/data", "--exec-root", f"{folder}/run"]
        words += ["--pidfile", f"{folder}/pid", "--host", f"unix://{folder}/socket"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([*tied, *inside, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            found = Daemon(folder / "socket", node.prefix)
            _await(found, process, folder / "log")
            found.import_etcd(program)
            yield found
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _await(found: Daemon, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + PATIENCE
    while not found.answers():
        if process.poll() is not None or time.monotonic() > until:
            raise OSError(f"dockerd does not answer: {log.read_text(errors='replace')[-3000:]}")
        time.sleep(0.05)
