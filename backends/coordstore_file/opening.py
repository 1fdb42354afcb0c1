"""Finds a store in a directory, or makes one, after a look at everything about that directory."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from coordstore.errors import Unavailable
from coordstore.hostkit import boot_id
from coordstore.hostkit.paths import check_file, prepare_directory, refuse_network
from coordstore_file.journal import Journal
from coordstore_file.layout import create, identity, refuse_others

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore.hostkit import StoreLock
    from coordstore_file._fs import FileSystem
    from coordstore_file.layout import Layout

__all__ = ["opened"]


def opened(fs: FileSystem, layout: Layout, lock: StoreLock, *, allow_network: bool) -> tuple[str, Journal]:
    """Return the store's id and its journal, loaded and recovered; blocks.

    Raises:
        CoordError: As `open_file` says.
        OSError: A file could not be used.
    """
    prepare_directory(layout.root)
    _check_private(layout.root)
    if not allow_network:
        refuse_network(layout.root, "file")
    if fs.find(layout.internal) is None:
        refuse_others(fs, layout)
    for folder in (layout.internal, layout.log, layout.snapshots):
        if folder == layout.internal or fs.find(folder) is not None:
            prepare_directory(folder)
    for path in (layout.id, layout.lock, layout.upkeep, layout.leases, layout.mark, layout.shown):
        check_file(path)
    store_id = identity(fs, layout)
    if store_id is None:
        with lock.held():
            # Of many that come at once, the first one makes it.
            if identity(fs, layout) is None:
                create(fs, layout, boot_id())
        store_id = identity(fs, layout)
    if store_id is None:
        message = f"{layout.id} disappeared while the store was being opened: something else uses that directory"
        raise Unavailable(message)
    journal = Journal(fs, layout, store_id, boot_id())
    try:
        journal.open(lock)
    except BaseException:
        journal.close()
        raise
    return store_id, journal


def _check_private(root: Path) -> None:
    mode = stat.S_IMODE(root.stat().st_mode)
    if mode & 0o077:
        message = f"the directory {root} is open to other users: chmod 700 {root}, or use a private directory"
        raise Unavailable(message)
