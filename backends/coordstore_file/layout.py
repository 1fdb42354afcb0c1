"""Where everything lies below the store's directory.

PATH/.coord/id            format and identity, one line of JSON
PATH/.coord/lock          the writers' lock, never removed
PATH/.coord/upkeep        the lock of whoever writes the tree or compacts; how far the tree shows the store
PATH/.coord/leases        the lease table of this boot
PATH/.coord/mark          up to where the log is committed
PATH/.coord/log/N         the log's segments
PATH/.coord/snapshot/N    the state before segment N
PATH/…                    the tree: a file per key, a folder of JSON lines per stream
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from coordstore.errors import Corrupt, Unavailable, VersionMismatch
from coordstore_file._fs import replace
from coordstore_file.log import Log
from coordstore_file.mark import Mark, Place

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore_file._fs import FileSystem

__all__ = ["FORMAT", "Layout", "create", "identity", "refuse_others"]

FORMAT: Final = 1
_ID_MAX: Final = 4096
_STORE_ID: Final = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Layout:
    """The paths of one store."""

    root: Path

    @property
    def internal(self) -> Path:
        """The folder of all that is not the tree; no segment of a key begins with a dot."""
        return self.root / ".coord"

    @property
    def id(self) -> Path:
        """Format and identity."""
        return self.internal / "id"

    @property
    def lock(self) -> Path:
        """The writers' lock."""
        return self.internal / "lock"

    @property
    def upkeep(self) -> Path:
        """The lock of whoever writes the tree or compacts."""
        return self.internal / "upkeep"

    @property
    def shown(self) -> Path:
        """Up to which revision the tree shows the store."""
        return self.internal / "shown"

    @property
    def showing(self) -> Path:
        """What is being written for the tree before it is renamed into place."""
        return self.internal / "showing"

    @property
    def leases(self) -> Path:
        """The lease table."""
        return self.internal / "leases"

    @property
    def mark(self) -> Path:
        """The mark."""
        return self.internal / "mark"

    @property
    def log(self) -> Path:
        """The folder of segments."""
        return self.internal / "log"

    @property
    def snapshots(self) -> Path:
        """The folder of snapshots."""
        return self.internal / "snapshot"

    @property
    def draft(self) -> Path:
        """What is being written under the writers' lock before it is renamed into place."""
        return self.internal / "draft"


def identity(fs: FileSystem, layout: Layout) -> str | None:
    """Return the store's id, None when there is no store; changes nothing.

    Raises:
        VersionMismatch: It has another format.
        Corrupt: The file is damaged, or missing where a store is.
    """
    if fs.find(layout.id) is None:
        return None
    handle = fs.open(layout.id)
    try:
        text = fs.read(handle, _ID_MAX, 0)
    finally:
        fs.close(handle)
    try:
        told = json.loads(text)
        found, store_id = int(told["format"]), str(told["store_id"])
    except (ValueError, KeyError, TypeError) as error:
        message = f"{layout.id} is damaged: restore it from a backup; nothing was changed"
        raise Corrupt(message) from error
    if found != FORMAT:
        age = "a newer" if found > FORMAT else "an older"
        message = (
            f"{layout.root} has format {found}, this is {age} one than format {FORMAT}, which this coordstore reads: "
            "use the version that wrote it; nothing was written"
        )
        raise VersionMismatch(message)
    if _STORE_ID.fullmatch(store_id) is None:
        message = f"{layout.id} names no identity: restore it from a backup; nothing was changed"
        raise Corrupt(message)
    return store_id


def create(fs: FileSystem, layout: Layout, boot: bytes) -> None:
    """Make an empty store, under the writers' lock; its id is the last thing to appear.

    Raises:
        Corrupt: There is a store without its id.
        Unavailable: The directory holds something else.
        OSError: It cannot be written.
    """
    refuse_others(fs, layout)
    for folder in (layout.log, layout.snapshots):
        if fs.find(folder) is None:
            fs.mkdir(folder)
    store_id = os.urandom(16)
    log = Log(fs, layout.log, layout.draft, store_id)
    try:
        for number in log.numbers():
            fs.unlink(log.path(number))
        first = log.create(1, 0, Place(0, 0), 0)
        start = Place(1, first.start)
    finally:
        log.close()
    fs.fsync_dir(layout.internal)
    for folder in (layout.root, *layout.root.parents):
        # Above our own folders names are not ours to sync, and may not even be readable.
        with contextlib.suppress(PermissionError):
            fs.fsync_dir(folder)
    mark = Mark(store_id, boot, start, start, 0)
    replace(fs, layout.mark, layout.draft, mark.pack() + mark._replace(turn=1).pack(), durable=True)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    told = json.dumps({"format": FORMAT, "store_id": store_id.hex(), "created": created}) + "\n"
    replace(fs, layout.id, layout.draft, told.encode(), durable=True)


def refuse_others(fs: FileSystem, layout: Layout) -> None:
    """Refuse to make a store among other files, or where one has lost its id.

    Raises:
        Unavailable: The directory holds something else.
        Corrupt: There is a store without its id.
    """
    used = fs.find(layout.snapshots) is not None and bool(fs.list(layout.snapshots))
    if fs.find(layout.log) is not None:
        segments = [fs.find(layout.log / name) for name in fs.list(layout.log)]
        used = used or len(segments) > 1 or any(found is not None and found.size > Log.HEADER for found in segments)
    if used:
        message = (
            f"{layout.id} is missing, but the log of a store is there: restore it from a backup; nothing was reset"
        )
        raise Corrupt(message)
    others = sorted(set(fs.list(layout.root)) - {layout.internal.name})
    if others:
        message = f"{layout.root} holds other files ({', '.join(others[:3])}) and no store: choose an empty directory"
        raise Unavailable(message)
