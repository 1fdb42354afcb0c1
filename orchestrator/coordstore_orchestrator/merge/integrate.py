"""Merge agents' work in a repository without a checkout.

Where no file's content has to be merged, the merged tree is made in place, else by one process: `merge-tree`. The
commit on it is written in place. Objects of agents are read where they are; no configuration, hook, filter or driver
of theirs is.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.batch import contents
from coordstore_orchestrator.git.database import Database, Unclear
from coordstore_orchestrator.git.objects import Identity, algorithm_of, commit_text, sync_loose, write_loose
from coordstore_orchestrator.git.refs import read_ref, write_file, write_ref
from coordstore_orchestrator.git.run import failure, git, text_of, to_end
from coordstore_orchestrator.git.skeleton import Skeleton
from coordstore_orchestrator.merge.attributes import filter_attributes, info_attributes
from coordstore_orchestrator.merge.threeway import fork_point, merge_trees

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coordstore_orchestrator.git.objects import Algorithm
    from coordstore_orchestrator.git.session import SessionRepository
    from coordstore_orchestrator.git.user import UserRepository

__all__ = ["Conflict", "Integration", "MergeResult"]

HUNK_MAX: Final = 4000
"""Characters of a conflict that are kept."""
HUNKS_MAX: Final = 10
FILES_MAX: Final = 50
_HUNK: Final = re.compile(r"^<{7} .*?^>{7} [^\n]*\n?", re.MULTILINE | re.DOTALL)
_EMPTY_TREE: Final = {
    "sha1": "4b825dc642cb6eb9a060e54bf8d69288fbee4904",
    "sha256": "6ef19b41225c5369f1c104d45d8d85efa9b057b53b14b4b9b939dd74decc5321",
}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A path that git could not merge.

    Args:
        path: The path.
        kind: git's word for it: `contents`, `modify/delete`, `binary` …
        message: git's sentence.
        hunks: The places that conflict, with markers (the first ones, shortened).
    """

    path: str
    kind: str
    message: str = ""
    hunks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What came of a merge.

    Args:
        oid: The merge commit; None: there are conflicts, and nothing was written but loose objects.
        conflicts: By path.
        fast: Whether there was nothing to merge with: the work began at the very commit it is merged into.
    """

    oid: str | None
    conflicts: tuple[Conflict, ...] = ()
    fast: bool = False


@dataclass(frozen=True, slots=True)
class _Text:
    """A merge commit but for its tree."""

    parents: Sequence[str]
    who: Identity
    when: int
    message: str

    def on(self, tree: str) -> bytes:
        return commit_text(tree, self.parents, self.who, self.when, self.message)


class Integration:
    """A bare repository in which work is merged.

    Args:
        path: Where it is, or is to be made.
        now: The wall clock, for commit times.
    """

    def __init__(self, path: str | Path, *, now: Callable[[], float] = time.time) -> None:
        self.path = Path(path)
        self._now = now
        self._identity = Identity("coord", "coord@localhost")
        self._algorithm: Algorithm = "sha1"
        self._filters_in: Path | None = None
        self._root: str | None = None
        self._made: dict[str, list[str]] = {}
        self.database = Database(self.path)
        """All objects that are seen here."""

    def __repr__(self) -> str:
        return f"Integration({str(self.path)!r})"

    async def create(self, user: UserRepository, session: SessionRepository) -> None:
        """Make the repository, or open it again, and let the session's worktrees see what is merged in it.

        Args:
            user: Whose identity merges, and whose merge attributes hold.
            session: Where agents' work is; created before.

        Raises:
            GitError: The session's base is missing.

        A crash or a cancellation at any step is made good by calling it again.
        """
        self._identity = user.identity
        self._algorithm = user.algorithm
        skeleton = Skeleton(
            user.algorithm,
            [session.agents_path / "objects", session.path / "objects", user.objects],
            {"core.sharedRepository": "0600", "core.fsync": "committed", "core.fsyncMethod": "batch"},
            b"",
            user.shallow,
        )
        await to_end(skeleton.write, self.path)
        await session.borrow(self.path / "objects")
        base = await asyncio.to_thread(read_ref, session.path, "refs/coord/base")
        self._root = base
        if base is not None:
            await self._set_attributes(base, session.path)

    async def _set_attributes(self, base: str, session: Path) -> None:
        """Carry over the merge attributes of the base tree; agents may not change them."""
        empty = _EMPTY_TREE[algorithm_of(base)]
        args = ["diff-tree", "-r", "-z", "--name-only", "--no-renames", empty, base, "--", ":(glob)**/.gitattributes"]
        paths = text_of((await git(args, git_dir=self.path)).stdout).split("\0")[:-1]
        found = await contents(self.path, [f"{base}:{path}" for path in paths])
        files = {path.rpartition("/")[0]: data for path, data in zip(paths, found, strict=True) if data is not None}
        await to_end(write_file, self.path / "info/attributes", info_attributes(files))
        filters = filter_attributes(files)
        if filters:
            await to_end(write_file, self.path / "info/filters", filters)
        self._filters_in = session if filters else None

    async def filters(self, paths: Sequence[str]) -> dict[str, str]:
        """Return the filter, `lfs` for example, of each path that has one by the base tree's attributes.

        Args:
            paths: The paths.

        Raises:
            GitError: git failed.
        """
        if self._filters_in is None or not paths:
            return {}
        # Asked in the session's repository: here info/attributes, with macros of the same names, would come before.
        args = ["-c", f"core.attributesFile={self.path / 'info/filters'}", "check-attr", "-z", "--stdin", "filter"]
        asked = b"".join(os.fsencode(path) + b"\0" for path in paths)
        said = text_of((await git(args, git_dir=self._filters_in, stdin=asked)).stdout).split("\0")[:-1]
        found = zip(said[::3], said[2::3], strict=True)
        return {path: name for path, name in found if name not in {"unspecified", "unset", "set"}}

    async def merge(
        self,
        ours: str,
        theirs: str,
        *,
        message: str,
        base: str | None = None,
        author: Identity | None = None,
        durable: bool = True,
    ) -> MergeResult:
        """Merge one commit into another, always by a merge commit of its own.

        Args:
            ours: The id, in full, of what has been integrated so far: the first parent.
            theirs: The work: the second parent.
            message: What the commit says.
            base: Where the work began, when known: tells a merge into that very commit apart.
            author: Who merges; default: the user.
            durable: Whether the commit is on the disk on return; False: a trial, for which `sync` may be called later.

        Raises:
            GitError: An object is missing, or the two have no history in common.

        Cancelled: nothing has moved; merging is a computation that only adds objects.
        """
        text = _Text([ours, theirs], author or self._identity, int(self._now()), message)
        oid = await to_end(self._in_place, ours, theirs, text, durable=durable)
        if oid is None:
            tree, conflicts = await self._merged_tree(ours, theirs)
            if conflicts is not None:
                return MergeResult(None, conflicts)
            oid = await self._write(text.on(tree), durable=durable)
        return MergeResult(oid, fast=base == ours)

    def _in_place(self, ours: str, theirs: str, text: _Text, *, durable: bool) -> str | None:
        """Merge without git and return the commit; None: git has to."""
        if self._root is None:
            return None
        objects, database = self.path / "objects", self.database
        try:
            base = fork_point(database, self._root, ours, theirs)
            root, mine, other = (database.commit(oid).tree for oid in (base, ours, theirs))
            tree, written = merge_trees(database, objects, root, mine, other)
        except Unclear:
            return None
        oid = write_loose(objects, "commit", text.on(tree or mine), self._algorithm)
        self._made[oid] = written
        if durable:
            self._sync(oid)
        return oid

    async def replay(self, ours: str, base: str, theirs: str, *, message: str) -> MergeResult:
        """Carry the change between two commits over to another, without the history before it; `sync` makes it durable.

        Args:
            ours: The id, in full, of what the change goes onto: the only parent.
            base: Where the change begins.
            theirs: Where it ends.
            message: What the new commit says.

        Raises:
            GitError: An object is missing.

        Cancelled: nothing has moved.
        """
        asked = ["rev-parse", "--verify", "--end-of-options"]
        trees = [await git([*asked, f"{oid}^{{tree}}"], git_dir=self.path) for oid in (base, ours, theirs)]
        root, mine, other = (text_of(result.stdout).strip() for result in trees)
        # git 2.38 takes no --merge-base: two commits on a common parent, made for the purpose, say the same.
        begin = await self._write(self._text(root, [], "base"))
        sides = [await self._write(self._text(tree, [begin], "side")) for tree in (mine, other)]
        tree, conflicts = await self._merged_tree(*sides)
        if conflicts is not None:
            return MergeResult(None, conflicts)
        return MergeResult(await self._write(self._text(tree, [ours], message)))

    async def sync(self, commits: Sequence[str]) -> None:
        """Make merge commits durable that were trials so far.

        Args:
            commits: Their ids.
        """
        for oid in commits:
            await to_end(self._sync, oid)

    def _sync(self, commit: str) -> None:
        """See to it that a merge commit is on the disk, after the trees that were made for it."""
        for oid in (*self._made.get(commit, ()), commit):
            sync_loose(self.path / "objects", oid)
        self._made.pop(commit, None)

    async def _merged_tree(self, ours: str, theirs: str) -> tuple[str, tuple[Conflict, ...] | None]:
        """Return the merged tree, and what conflicts in it; None: nothing."""
        args = ["merge-tree", "--write-tree", "-z", "--end-of-options", ours, theirs]
        result = await git(args, git_dir=self.path, check=False)
        tree, _, rest = text_of(result.stdout).partition("\0")
        # 1 says "conflicts", but also "no such commit": then without a tree.
        if result.returncode not in {0, 1} or len(tree) != len(ours):
            raise failure(["git", *args], result)
        return tree, await self._conflicts(tree, rest) if result.returncode == 1 else None

    def _text(self, tree: str, parents: Sequence[str], message: str) -> bytes:
        return commit_text(tree, parents, self._identity, int(self._now()), message)

    async def _write(self, text: bytes, *, durable: bool = False) -> str:
        algorithm = self._algorithm
        return await to_end(write_loose, self.path / "objects", "commit", text, algorithm, durable=durable)

    async def _conflicts(self, tree: str, rest: str) -> tuple[Conflict, ...]:
        found = parse_conflicts(rest)
        shown = [conflict.path for conflict in found if conflict.kind == "contents"][:FILES_MAX]
        texts = await contents(self.path, [f"{tree}:{path}" for path in shown])
        hunks = {path: _hunks(text) for path, text in zip(shown, texts, strict=True) if text is not None}
        return tuple(Conflict(c.path, c.kind, c.message, hunks.get(c.path, ())) for c in found)

    async def keep(self, name: str, oid: str) -> None:
        """Set `refs/heads/<name>` of this repository, so that people and `git fsck` find what was integrated.

        Args:
            name: The branch.
            oid: Its commit.
        """
        await to_end(write_ref, self.path / "refs/heads" / name, oid, break_lock=True)


def parse_conflicts(text: str) -> list[Conflict]:
    """Return what git could not merge, one entry a path, in git's order.

    Args:
        text: The output of `merge-tree -z` behind the tree: conflicted entries, an empty field, messages.
    """
    fields = text.split("\0")
    end = fields.index("")
    conflicted = dict.fromkeys(field.partition("\t")[2] for field in fields[:end])
    told: dict[str, Conflict] = {}
    for paths, kind, message in _messages(fields[end + 1 :]):
        for path in paths:
            if kind.startswith("CONFLICT") and (path in conflicted or path == paths[0]):
                told.setdefault(path, Conflict(path, _kind(kind), message))
    untold = (path for path in conflicted if path not in told)
    return [*told.values(), *(Conflict(path, "contents") for path in untold)]


def _messages(fields: Sequence[str]) -> list[tuple[Sequence[str], str, str]]:
    found, at = [], 0
    while at < len(fields) and fields[at].strip().isdigit():
        count = int(fields[at])
        paths, (kind, message) = fields[at + 1 : at + 1 + count], fields[at + 1 + count : at + 3 + count]
        found.append((paths, kind, message.strip()))
        at += 3 + count
    return found


def _kind(text: str) -> str:
    return text.removeprefix("CONFLICT").strip(" ()") or "contents"


def _hunks(text: bytes) -> tuple[str, ...]:
    found = _HUNK.findall(text.decode("utf-8", "replace"))
    return tuple(hunk[:HUNK_MAX] for hunk in found[:HUNKS_MAX])
