"""An environment of its own for each peer, so that what they need cannot disturb ours or one another."""

from __future__ import annotations

import subprocess
import venv
from pathlib import Path
from typing import Final

from benchmarks.stores import BUILD

__all__ = ["NotInstalled", "program_of", "python_of", "version"]

PINNED: Final = Path(__file__).with_name("peers.txt")
"""The versions of all peers and of what they need."""


class NotInstalled(Exception):
    """A peer cannot be installed here."""


def python_of(distribution: str) -> str:
    """Return the Python of a peer's environment, made when it is not there.

    Raises:
        NotInstalled: pip failed; what it said is chained.
    """
    home = BUILD / "peers" / distribution
    python = str(home / "bin/python")
    done = home / ".ready"
    if not done.exists() or done.stat().st_mtime < PINNED.stat().st_mtime:
        venv.create(home, with_pip=True, clear=True)
        pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        try:
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
