"""What a worker's host has of a repository that it reaches over git only: objects, fetched when they are needed."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.refs import private_folder
from coordstore_orchestrator.git.run import git
from coordstore_orchestrator.git.session import SessionRepository
from coordstore_orchestrator.git.user import UserRepository

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore_orchestrator.git.remote import Remote

__all__ = ["Mirror", "own_folder"]

PLACES: Final = 1000
_SHA256: Final = 64


def own_folder(workers: Path) -> tuple[Path, int]:
    """Return a folder that no other worker of this host uses, and the lock that says so; blocks for a moment.

    The first that is free is taken, so that what a killed worker left is found by the next one.

    Args:
        workers: Where they all are.
    """
    for number in range(1, PLACES):
        folder = workers / str(number)
        private_folder(folder)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return folder, lock
    message = f"{workers} has {PLACES} workers"
    raise FileExistsError(message)


class Mirror:
    """The objects of one remote on this host, shared by all sessions that work from it.

    Args:
        folder: The worker's own.
        remote: What is mirrored.
    """

    def __init__(self, folder: Path, remote: Remote) -> None:
        name = hashlib.sha256(remote.url.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.path = folder / "mirrors" / f"{name}.git"
        self._remote = remote

    async def open(self, folder: Path, base: str) -> SessionRepository:
        """Return a session's repository in a folder, with the session's base; made when it is new.

        Args:
            folder: The session's.
            base: The commit that the session starts from.

        Raises:
            RemoteUnreachable: The base could not be had.
        """
        await asyncio.to_thread(private_folder, self.path)
        form = "sha256" if len(base) == _SHA256 else "sha1"
        await git(["init", "--quiet", "--bare", f"--object-format={form}", "--template=", str(self.path)])
        await self._remote.fetch_base(self.path, base)
        repository = SessionRepository(folder)
        await repository.create(await UserRepository.discover(self.path), base)
        return repository
