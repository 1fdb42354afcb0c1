"""Read many objects with one git process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from coordstore_orchestrator.git.names import is_oid
from coordstore_orchestrator.git.run import git

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["contents", "missing", "sizes"]


async def sizes(git_dir: Path, names: Sequence[str]) -> list[int | None]:
    """Return the size in bytes of each object, None for one that is not there.

    Args:
        git_dir: The repository.
        names: Ids, or expressions such as `<commit>:<path>`.

    Raises:
        GitError: git failed.
    """
    if not names:
        return []
    result = await git(["cat-file", "--batch-check=%(objectsize)", "-z"], git_dir=git_dir, stdin=_listed(names))
    lines = result.stdout.splitlines()[: len(names)]
    return [int(line) if line.isdigit() else None for line in lines]


async def missing(git_dir: Path, commits: Sequence[str]) -> list[str]:
    """Return which of these are no ids of commits that are there.

    Args:
        git_dir: The repository.
        commits: What ought to be ids of commits.

    Raises:
        GitError: git failed.
    """
    whole = [oid for oid in commits if is_oid(oid)]
    result = await git(["cat-file", "--batch-check=%(objecttype)", "-z"], git_dir=git_dir, stdin=_listed(whole))
    kinds = dict(zip(whole, result.stdout.splitlines(), strict=False))
    return [oid for oid in commits if kinds.get(oid) != b"commit"]


async def contents(git_dir: Path, names: Sequence[str]) -> list[bytes | None]:
    """Return the content of each object, None for one that is not there.

    Args:
        git_dir: The repository.
        names: Ids, or expressions such as `<commit>:<path>`.

    Raises:
        GitError: git failed.
    """
    if not names:
        return []
    result = await git(["cat-file", "--batch=%(objectsize)", "-z"], git_dir=git_dir, stdin=_listed(names))
    found: list[bytes | None] = []
    data, at = result.stdout, 0
    for name in names:
        missing = os.fsencode(name) + b" missing\n"
        if data.startswith(missing, at):
            found.append(None)
            at += len(missing)
            continue
        end = data.index(b"\n", at)
        size = int(data[at:end])
        found.append(data[end + 1 : end + 1 + size])
        at = end + size + 2
    return found


def _listed(names: Sequence[str]) -> bytes:
    return b"".join(os.fsencode(name) + b"\0" for name in names)
