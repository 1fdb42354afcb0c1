"""Takes away what an agent planted where git would believe it, whatever its maker and other attempts do meanwhile."""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["take_away"]

log = logging.getLogger(__name__)


def take_away(path: Path, aside: Path) -> bool:
    """Take away a file or folder that has no business there; return whether it was there. Blocks.

    It is moved out of git's sight first: whoever made it may be busy in it still, and another attempt that ends at
    this moment takes it away too.

    Args:
        path: The file or folder; a link is not followed.
        aside: A folder of ours on the same file system, where git does not look for such things.
    """
    planted = aside / f"planted-{secrets.token_hex(8)}"
    try:
        if stat.S_ISDIR(path.lstat().st_mode):
            path.chmod(0o700)  # a folder that cannot be written to cannot be moved either
        path.rename(planted)
    except (FileNotFoundError, NotADirectoryError):
        return False
    if stat.S_ISDIR(planted.lstat().st_mode):
        shutil.rmtree(planted, onerror=_again)
    else:
        planted.unlink()
    return True


def _again(_function: object, path: str, _error: object) -> None:
    """Remove what its maker locked; what it still adds to lies aside until `coord gc` takes all of it."""
    with suppress(OSError):
        os.chmod(os.path.dirname(path), 0o700)
        if os.path.isdir(path) and not os.path.islink(path):
            os.chmod(path, 0o700)
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
    if os.path.lexists(path):
        log.info("%s cannot be removed now", path)
