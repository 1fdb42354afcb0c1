"""A File store's place, other processes that use it, and a file system that fails where a test wants it to."""

from __future__ import annotations

import contextlib
import errno
import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.url import StoreURL
from coordstore_file._fs import OsFileSystem
from coordstore_file.store import open_file
from tests.children import Child, children, source_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def url(path: Path) -> str:
    return f"file:{path}"


@pytest.fixture
def program() -> Callable[[str], str]:
    return functools.partial(source_of, "file")


@pytest.fixture
def child(path: Path) -> Iterator[Callable[..., Child]]:
    yield from children("file", path)


class Broken(OSError):
    """An error that a test planted."""


class FaultyFs(OsFileSystem):
    """The system's file system, whose mutating calls fail, or end the process's I/O for good, from a count on.

    Args:
        at: Which mutating call fails, counted from 1; none when 0.
        error: The errno it fails with.
        once: Only that call fails; else all from there on.
        partly: A write that fails writes half of its bytes first.
        only: Names of the calls that count; all mutating ones when empty.
    """

    MUTATING = (
        "create",
        "write_all",
        "truncate",
        "fdatasync",
        "fsync_dir",
        "rename",
        "unlink",
        "mkdir",
        "rmdir",
    )

    def __init__(
        self,
        at: int = 0,
        error: int = errno.EIO,
        *,
        once: bool = True,
        partly: bool = False,
        only: tuple[str, ...] = (),
    ) -> None:
        self.calls: list[str] = []
        self.at = at
        self.error = error
        self.once = once
        self.partly = partly
        self.only = only or self.MUTATING
        self.lock = threading.Lock()

    def count(self, name: str, path: Any = "") -> None:
        if name not in self.only:
            return
        with self.lock:
            self.calls.append(f"{name} {path}")
            now = len(self.calls)
        if self.at and (now == self.at or (now > self.at and not self.once)):
            raise Broken(self.error, "planted", str(path))

    def create(self, path: Path) -> int:
        self.count("create", path)
        return super().create(path)

    def write_all(self, handle: int, data: bytes, offset: int) -> None:
        try:
            self.count("write_all")
        except Broken:
            if self.partly:
                super().write_all(handle, data[: len(data) // 2], offset)
            raise
        super().write_all(handle, data, offset)

    def truncate(self, handle: int, length: int) -> None:
        self.count("truncate")
        super().truncate(handle, length)

    def fdatasync(self, handle: int) -> None:
        self.count("fdatasync")
        super().fdatasync(handle)

    def fsync_dir(self, path: Path) -> None:
        self.count("fsync_dir", path)
        super().fsync_dir(path)

    def rename(self, old: Path, new: Path) -> None:
        self.count("rename", new)
        super().rename(old, new)

    def unlink(self, path: Path) -> None:
        self.count("unlink", path)
        super().unlink(path)

    def mkdir(self, path: Path) -> None:
        self.count("mkdir", path)
        super().mkdir(path)

    def rmdir(self, path: Path) -> None:
        self.count("rmdir", path)
        super().rmdir(path)


@pytest.fixture
def opened(url: str) -> Callable[..., Any]:
    """Return what opens a handle on the store, on a file system of the test if wanted."""

    @contextlib.asynccontextmanager
    async def opener(fs: FaultyFs | None = None, options: str = "") -> Any:
        async with await open_file(StoreURL.parse(url + options), fs=fs) as store:
            yield store

    return opener


@pytest.fixture
def faulty() -> type[FaultyFs]:
    return FaultyFs
