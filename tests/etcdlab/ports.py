"""Ports on loopback that stay free while a server is down."""

from __future__ import annotations

import contextlib
import random
import socket
from pathlib import Path
from typing import Final

__all__ = ["free_ports"]

LOWEST: Final = 20_000
RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


def _highest() -> int:
    """Return where the ports begin that the kernel gives to outgoing connections: one of those may take ours."""
    try:
        first = int(RANGE.read_text().split()[0])
    except OSError:
        first = 32_768
    return first if first > LOWEST + 1_000 else 65_000


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Return so many ports on which nobody listens now."""
    candidates = random.SystemRandom().sample(range(LOWEST, _highest()), 50 * count)
    found: list[int] = []
    for port in candidates:
        with contextlib.closing(socket.socket()) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((host, port))
                found.append(port)
        if len(found) == count:
            return found
    message = f"{count} free ports were not to be found on {host}"
    raise OSError(message)
