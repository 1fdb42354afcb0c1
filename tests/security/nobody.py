"""Another user of this machine, for the tests that root can make: what `nobody` may do with some paths."""

from __future__ import annotations

import os
import subprocess

__all__ = ["NOBODY", "allowed", "can_be_nobody"]

NOBODY = 65534


def can_be_nobody() -> bool:
    """Tell whether we may become another user."""
    return os.geteuid() == 0


def allowed(test: str, *paths: str) -> list[str]:
    """Return the paths for which a test of `sh` (-r, -w, -S …) holds when nobody asks."""
    code = f'for path; do if [ {test} "$path" ]; then echo "$path"; fi; done'
    argv = ["/bin/sh", "-c", code, "sh", *paths]
    done = subprocess.run(
        argv, capture_output=True, text=True, check=True, cwd="/", user=NOBODY, group=NOBODY, extra_groups=[], env={}
    )
    return done.stdout.splitlines()
