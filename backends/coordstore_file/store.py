"""Opens ``file:PATH``; all else is imported when that is asked for."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

from coordstore.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from coordstore.store import Clock
    from coordstore.url import StoreURL
    from coordstore_file._fs import FileSystem
    from coordstore_file.handle import FileStore

__all__ = ["open_file"]

_OPTIONS: Final = ("durability", "allow_network_fs", "lock_wait")
_WAIT: Final = "10"


async def open_file(url: StoreURL, clock: Clock | None = None, fs: FileSystem | None = None) -> FileStore:
    """Open the store in a directory, creating it when there is none.

    Options: ``durability=full|process``; ``allow_network_fs=1``; ``lock_wait`` (seconds to wait for other
    writers, 10 by default). Cancelled: nothing stays open; a store that was created stays.

    Args:
        url: ``file:PATH``.
        clock: What leases are counted on; the system's boot-time clock when None.
        fs: Where the store's files are; the system's own file system when None.

    Raises:
        InvalidArgument: The path is missing or an option is wrong.
        Unavailable: The directory cannot be used, is not this user's alone, or holds something else.
        Unsupported: Windows, or a network file system.
        VersionMismatch: The store has another format.
        Corrupt: The store is damaged.
    """
    url.check_options(_OPTIONS)
    durability = url.choice("durability", ("full", "process"), "full")
    allow_network, path, wait = url.flag("allow_network_fs"), url.path, _seconds(url)
    if sys.platform == "win32":
        message = "file: is not made for Windows: run it under WSL, or use etcd:"
        raise Unsupported(message)
    from coordstore_file._fs import OsFileSystem
    from coordstore_file.handle import FileStore

    store = FileStore(
        path,
        fs or OsFileSystem(),
        durability=durability,
        allow_network=allow_network,
        lock_wait=wait,
        clock=clock,
    )
    await store.start()
    return store


def _seconds(url: StoreURL) -> float:
    value = url.options.get("lock_wait", _WAIT)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = -1.0
    if 0 <= seconds <= 3600:  # noqa: PLR2004  (an hour)
        return seconds
    message = f"option lock_wait={value}: it is seconds, from 0 to 3600"
    raise InvalidArgument(message)
