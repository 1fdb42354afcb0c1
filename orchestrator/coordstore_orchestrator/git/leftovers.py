"""Turn what an agent left uncommitted into a commit, running nothing that the agent could have planted.

Three processes when there is something, one when there is not. `git add` and `git commit` are avoided: they look into
nested repositories, with those repositories' configuration.
"""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coordstore_orchestrator.git.errors import WorktreeRefused
from coordstore_orchestrator.git.objects import algorithm_of, commit_text, write_loose
from coordstore_orchestrator.git.refs import write_file
from coordstore_orchestrator.git.run import git, text_of, to_end

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from coordstore_orchestrator.git.objects import Identity
    from coordstore_orchestrator.git.run import GitResult

__all__ = ["Work", "commit", "lend_index", "tree"]


@dataclass(frozen=True, slots=True)
class Work:
    """An agent's folder, seen from our repository.

    Args:
        own: Our repository.
        objects: Where new objects go.
        env: Makes git work on the folder from our side.
        folder: The folder.
    """

    own: Path
    objects: Path
    env: Mapping[str, str]
    folder: Path


def lend_index(theirs: Path, ours: Path) -> None:
    """Make the worktree's index ours too, by a hard link: git replaces index files, it never writes into one.

    A copy would look younger than the files it lists, and git would not look at those again.

    Args:
        theirs: The worktree's index.
        ours: Where our commands look for it.
    """
    for path in (ours, ours.with_name("index.lock")):
        path.unlink(missing_ok=True)
    with suppress(FileNotFoundError):  # an agent may have deleted it: git then takes all files for new
        if theirs.is_symlink():
            return
        try:
            ours.hardlink_to(theirs)
        except FileNotFoundError:
            raise
        except OSError:
            shutil.copy2(theirs, ours)


async def tree(work: Work, ignore: Sequence[str]) -> str | None:
    """Return the tree of everything in the folder that is not ignored, or None when HEAD has the same.

    Args:
        work: The folder.
        ignore: Patterns of litter.

    Raises:
        WorktreeRefused: There is a git repository inside the folder.
        GitError: git failed.
    """
    changed = await _changed(work, ignore)
    if not changed:
        return None
    nested = next((path for path in changed if path.endswith("/")), None)
    if nested is not None:
        message = f"there is a git repository of its own inside the worktree, at {nested!r}: it cannot be committed"
        raise WorktreeRefused(message)
    env = {**work.env, "GIT_OBJECT_DIRECTORY": str(work.objects)}
    durable = ["-c", "core.fsync=committed", "-c", "core.fsyncMethod=batch"]
    listed = b"".join(os.fsencode(path) + b"\0" for path in changed)
    args = [*durable, "update-index", "-z", "--add", "--remove", "--replace", "--stdin"]
    await git(args, cwd=work.folder, env=env, stdin=listed)
    written = await git([*durable, "write-tree"], cwd=work.folder, env=env)
    return text_of(written.stdout).strip()


async def _changed(work: Work, ignore: Sequence[str]) -> list[str]:
    """Return the paths that differ between HEAD, index and folder, and the untracked ones."""
    args = ["status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--ignore-submodules=dirty"]
    if ignore:
        litter = work.own / "info" / "litter"
        await to_end(write_file, litter, "\n".join(ignore).encode() + b"\n")
        args = ["-c", f"core.excludesFile={litter}", *args]
    result = await git(args, cwd=work.folder, env=work.env, check=False)
    if result.returncode:
        result = await _with_new_index(work, args)
    return [entry[3:] for entry in text_of(result.stdout).split("\0") if entry]


async def _with_new_index(work: Work, args: Sequence[str]) -> GitResult:
    """Ask again with an index made from HEAD: the agent's was damaged, or of a kind that ours cannot follow."""
    # Killed while the worktree was being made, there is none yet.
    await to_end(Path(work.env["GIT_INDEX_FILE"]).unlink, missing_ok=True)
    await git(["read-tree", "HEAD"], cwd=work.folder, env=work.env)
    return await git(args, cwd=work.folder, env=work.env)


def commit(work: Work, found: str, head: str, who: Identity, when: int, message: str) -> str:
    """Write the commit of a tree on top of a HEAD; return its id.

    Args:
        work: The folder.
        found: The tree.
        head: The parent.
        who: Author and committer.
        when: Seconds since 1970.
        message: What it says.
    """
    text = commit_text(found, [head], who, when, message)
    return write_loose(work.objects, "commit", text, algorithm_of(head), durable=True)
