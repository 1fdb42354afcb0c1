"""What every command of `coord` shares: which store is meant, and opening it without ever creating it."""

from __future__ import annotations

import asyncio
import os
import stat
import sys
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from coordstore.errors import NoStore
from coordstore.home import default_store_url, home_dir
from coordstore.plugins import open_store
from coordstore.url import StoreURL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coordstore.store import CoordStore

__all__ = ["Settings", "notice", "open_existing", "pass_settings"]

FILES: Final = ("sqlite", "file")
"""Schemes whose store is a path on this machine, which opening would create."""
ASKED: Final = ("etcd",)
"""Schemes whose backend makes no store where the option ``create=0`` says so."""


class Settings:
    """What stands before the command's name; commands get it by `pass_settings`.

    Args:
        store: The URL given by ``--store`` or COORD_STORE, or None.
        quiet: Leave out notices on standard error; errors are still told.
    """

    def __init__(self, store: str | None = None, *, quiet: bool = False) -> None:
        self.store = store
        self.quiet = quiet

    def __repr__(self) -> str:
        """Show the URL that was given."""
        return f"<Settings store={self.store!r}>"

    def store_url(self, start: Path | None = None) -> str:
        """Return the URL of the store that is meant.

        Args:
            start: A folder in the repository whose default store is taken when none was named; None: the current one.

        Raises:
            NotARepository: None was named, and there is no repository.
        """
        return self.store or default_store_url(start or Path.cwd())

    def home(self, start: Path | None = None) -> Path:
        """Return the home of the repository that `start` or the current folder lies in.

        Raises:
            NotARepository: There is none.
        """
        return home_dir(start or Path.cwd())


pass_settings = click.make_pass_decorator(Settings, ensure=True)
"""Hand a command its `Settings` as the first argument."""


def notice(text: str) -> None:
    """Tell something by the way, on standard error, unless `coord --quiet` was said."""
    context = click.get_current_context(silent=True)
    settings = context.find_object(Settings) if context else None
    if settings is None or not settings.quiet:
        print(f"coord: {text}", file=sys.stderr)


@asynccontextmanager
async def open_existing(url: str) -> AsyncIterator[CoordStore | None]:
    """Open a store for reading, or yield None where there is none yet: looking must not create one."""
    parsed = StoreURL.parse(url)
    if await asyncio.to_thread(_absent, parsed):
        yield None
        return
    options = {"create": "0"} if parsed.scheme in ASKED else {}
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(open_store(url, **options))
        except NoStore:
            store = None
        yield store


def _absent(url: StoreURL) -> bool:
    """Tell whether opening would make a store: nothing is there, or an empty file or folder; blocks."""
    if url.scheme not in FILES:
        return False
    try:
        found = os.lstat(url.path)
    except FileNotFoundError:
        return True
    except OSError:
        return False  # opening it says what is wrong
    if stat.S_ISDIR(found.st_mode):
        return url.scheme == "file" and _is_empty(url.path)
    return stat.S_ISREG(found.st_mode) and found.st_size == 0


def _is_empty(folder: Path) -> bool:
    try:
        return not any(folder.iterdir())
    except OSError:
        return False
