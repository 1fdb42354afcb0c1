"""An etcd in a container, by testcontainers: where a machine has Docker and no etcd."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Final

from tests.etcdlab.gateway import Gateway, GatewayError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["container"]

PORT: Final = 2379
PATIENCE: Final = 60.0
COMMAND: Final = (
    f"etcd --listen-client-urls http://0.0.0.0:{PORT} --advertise-client-urls http://0.0.0.0:{PORT} "
    "--heartbeat-interval 10 --election-timeout 100"
)


def answers(endpoint: str) -> bool:
    """Return whether an etcd answers there."""
    try:
        return bool(Gateway(f"http://{endpoint}", patience=2.0).status().get("leader"))
    except (OSError, GatewayError):
        return False


@contextlib.contextmanager
def container(image: str) -> Iterator[str]:
    """Run an image of etcd and yield its endpoint; the container goes at the end."""
    from testcontainers.core.container import DockerContainer

    with DockerContainer(image).with_command(COMMAND).with_exposed_ports(PORT) as running:
        endpoint = f"{running.get_container_host_ip()}:{running.get_exposed_port(PORT)}"
        until = time.monotonic() + PATIENCE
        while not answers(endpoint):
            if time.monotonic() > until:
                raise TimeoutError(f"etcd in {image} does not answer on {endpoint}: {running.get_logs()}")
            time.sleep(0.05)
        yield endpoint
