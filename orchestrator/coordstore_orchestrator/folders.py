"""The folders that a session's files go into: made private, and refused where somebody else may have planted them."""

from __future__ import annotations

import os
from pathlib import Path

from coordstore.home import session_dir
from coordstore.hostkit.paths import prepare_directory

__all__ = ["prepare_session_folder"]


def prepare_session_folder(home: Path, session: str) -> Path:
    """Make a session's folder and those above it, or check those that are there; return it. Blocks.

    Args:
        home: The repository's state folder.
        session: The session's name.

    Raises:
        Unavailable: One belongs to somebody else, others may write in it, or it is a link or no folder.
    """
    folder = session_dir(home, session)
    prepare_directory(Path(os.path.realpath(home.parent)))  # where state goes is the user's choice, also by a link
    for each in (home, folder.parent, folder):
        prepare_directory(each)
    return folder
