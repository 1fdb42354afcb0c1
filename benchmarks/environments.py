"""An environment of its own for each peer, so that what they need cannot disturb ours or one another."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path
from typing import Final

from benchmarks.stores import BUILD

__all__ = ["PINNED", "python_of"]

PINNED: Final = Path(__file__).with_name("peers.txt")
"""The versions of all peers and of what they need."""


def python_of(distribution: str) -> str:
    """Return the Python of a peer's environment, made when it is not there."""
    home = BUILD / "peers" / distribution
    python = str(home / "bin/python")
    done = home / ".ready"
    if not done.exists() or done.stat().st_mtime < PINNED.stat().st_mtime:
        venv.create(home, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        subprocess.run([*pip, "--constraint", str(PINNED), distribution], check=True, capture_output=True)
        done.touch()
    return python
