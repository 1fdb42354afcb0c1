"""Tells one boot of this machine from the next: what was promised until a reboot is void after it."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

from coordstore.errors import Unsupported

__all__ = ["boot_id"]

_LINUX = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def boot_id() -> bytes:
    """Return 16 bytes that are the same for all processes of this boot and differ after a reboot; blocks.

    Raises:
        Unsupported: This system does not tell.
    """
    try:
        return bytes.fromhex(_read().replace("-", ""))
    except (OSError, ValueError, subprocess.CalledProcessError) as error:
        message = f"this system ({sys.platform}) does not tell its boot id ({error}): use etcd: for coordination here"
        raise Unsupported(message) from error


def _read() -> str:
    if sys.platform == "darwin":
        asked = ["/usr/sbin/sysctl", "-n", "kern.bootsessionuuid"]
        return subprocess.run(asked, check=True, capture_output=True, text=True).stdout.strip()
    return _LINUX.read_text(encoding="ascii").strip()
