"""An environment of its own for each peer, so that what they need cannot disturb ours or one another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.stores import BUILD
from scripts.interpreters import find

__all__ = ["NotInstalled", "program_of", "python_of", "version"]

PINNED: Final = Path(__file__).with_name("peers.txt")
"""The versions of all peers and of what they need."""
LEAST: Final = {"agent-parley": (3, 12), "bernstein": (3, 12)}
"""The oldest Python of the peers that do not run on each of ours."""
OTHERS: Final = ((3, 12), (3, 13), (3, 14))
"""The Pythons that are looked for when this one is too old, in this order."""


class NotInstalled(Exception):
    """A peer cannot be installed here."""


def python_of(distribution: str) -> str:
    """Return the Python of a peer's environment, made when it is not there.

    Raises:
        NotInstalled: No Python here is new enough; or pip failed, what it said is chained.
    """
    home = BUILD / "peers" / distribution
    python = str(home / "bin/python")
    done = home / ".ready"
    if not done.exists() or done.stat().st_mtime < PINNED.stat().st_mtime:
        make = [_interpreter(distribution), "-m", "venv", "--clear", str(home)]
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        try:
            subprocess.run(make, check=True, capture_output=True)
            subprocess.run([*pip, "--constraint", str(PINNED), distribution], check=True, capture_output=True)
        except subprocess.CalledProcessError as error:
            message = f"{distribution} {version(distribution)} cannot be installed here"
            raise NotInstalled(message) from error
        done.touch()
    return python


def program_of(distribution: str) -> str:
    """Return the path of the program that a peer installs under its own name.

    Raises:
        NotInstalled: As `python_of`.
    """
    return str(Path(python_of(distribution)).with_name(distribution))


def version(distribution: str) -> str:
    """Return the pinned version that a peer is installed in."""
    wanted = f"{distribution}=="
    return next(line.removeprefix(wanted) for line in PINNED.read_text().splitlines() if line.startswith(wanted))


def _interpreter(distribution: str) -> str:
    least = LEAST.get(distribution, (0, 0))
    if sys.version_info >= least:
        return sys.executable
    others = (find(f"{major}.{minor}") for major, minor in OTHERS if (major, minor) >= least)
    found = next((python for python in others if python), None)
    if not found:
        needed = ".".join(map(str, least))
        message = f"{distribution} {version(distribution)} needs Python {needed} or newer, which is not installed here"
        raise NotInstalled(message)
    return str(found)
