"""Look at what an agent changed before it is merged: what can be is read in place, the rest asked of git."""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from coordstore_orchestrator.git.batch import contents, sizes
from coordstore_orchestrator.git.database import TREE, Database, Entry, Unclear
from coordstore_orchestrator.git.errors import GitError
from coordstore_orchestrator.git.names import is_oid
from coordstore_orchestrator.git.objects import Loose, algorithm_of
from coordstore_orchestrator.git.run import git, text_of
from coordstore_orchestrator.merge import rules
from coordstore_orchestrator.merge.rules import ABSENT, SYMLINK, Change, Limits, Violation
from coordstore_orchestrator.merge.threeway import differences

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = ["Limits", "Violation", "changes", "collisions", "inspect"]

_OID_BYTES = {"sha1": 20, "sha256": 32}


async def inspect(
    repo: Path | Database,
    base: str,
    tip: str,
    allowed: Callable[[str], bool],
    limits: Limits | None = None,
    changed: Sequence[Change] | None = None,
) -> list[Violation]:
    """Return everything in a change that must not be merged, by path; empty: it may be.

    Args:
        repo: A repository of ours that sees both commits (`SessionRepository.path`, `Integration.path`), or its
            objects, which remember what was read before.
        base: Where the work began.
        tip: Where it ended.
        allowed: Whether a path lies in the write scope.
        limits: What a change may be.
        changed: What `changes` returned for the two, when it was asked already.

    Raises:
        GitError: An object is missing or damaged.
    """
    bounds, database = limits or Limits(), _database(repo)
    changed = await changes(database, base, tip) if changed is None else changed
    found = [violation for change in changed for violation in rules.of_path(change, allowed, bounds)]
    found += await _of_contents(database, [change for change in changed if change.has_content], bounds)
    found += await _of_siblings(database, tip, [change.path for change in changed if change.added])
    return list(islice(sorted(found, key=lambda violation: violation.path), bounds.violations))


async def collisions(repo: Path | Database, added: Sequence[str], tip: str) -> list[Violation]:
    """Return the new names that a merge brought beside others which differ only in case or in accents' spelling.

    Args:
        repo: A repository of ours that sees the merge, or its objects.
        added: The new paths.
        tip: The merge.
    """
    return await _of_siblings(_database(repo), tip, added)


def _database(repo: Path | Database) -> Database:
    return Database(repo) if isinstance(repo, Path) else repo


async def changes(repo: Path | Database, base: str, tip: str) -> list[Change]:
    """Return the paths in which two commits differ, with modes and ids.

    Args:
        repo: A repository of ours that sees both, or its objects.
        base: One commit.
        tip: The other.

    Raises:
        GitError: One of them is missing.
    """
    database = _database(repo)
    for oid in (base, tip):
        if not is_oid(oid):
            message = f"{oid!r} is no commit's id"
            raise GitError(message)
    try:
        return await asyncio.to_thread(_changes, database, base, tip)
    except Unclear:
        pass
    args = ["diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev", base, tip, "--"]
    fields = text_of((await git(args, git_dir=database.git_dir)).stdout).split("\0")[:-1]
    found = []
    for head, path in zip(fields[::2], fields[1::2], strict=True):
        old_mode, new_mode, old_oid, new_oid, _ = head[1:].split(" ")
        found.append(Change(path, old_mode, new_mode, old_oid, new_oid))
    return found


def _changes(database: Database, base: str, tip: str) -> list[Change]:
    absent = Entry(ABSENT, "0" * len(tip))
    found = []
    for path, old, new in differences(database, database.commit(base).tree, database.commit(tip).tree):
        before, after = old or absent, new or absent
        found.append(Change(path, before.mode, after.mode, before.oid, after.oid))
    return sorted(found, key=lambda change: os.fsencode(change.path))


async def _of_contents(database: Database, changed: Sequence[Change], limits: Limits) -> list[Violation]:
    """Judge new contents: most are read in place, the rest asked of git together."""
    repo = database.git_dir
    known = await asyncio.to_thread(_read, database, [change.new_oid for change in changed], limits.file_bytes)
    others = [change.new_oid for change in changed if change.new_oid not in known]
    bytes_of = dict(zip(others, await sizes(repo, others), strict=True))
    small = [oid for oid, size in bytes_of.items() if size is not None and size <= limits.file_bytes]
    bodies = dict(zip(small, await contents(repo, small), strict=True))
    known |= {oid: Loose("blob", size, bodies.get(oid)) for oid, size in bytes_of.items() if size is not None}
    found: list[Violation] = []
    for change in changed:
        blob = known.get(change.new_oid)
        if blob is None:
            message = f"the content of {rules.shown(change.path)} is missing: object {change.new_oid}"
            raise GitError(message)
        found += rules.too_large(change, blob.size, limits)
        found += await _of_content(repo, change, blob.body) if blob.body is not None else ()
    return found


def _read(database: Database, oids: Sequence[str], limit: int) -> dict[str, Loose]:
    read = ((oid, database.read(oid, limit)) for oid in oids)
    return {oid: found for oid, found in read if found is not None}


async def _of_content(repo: Path, change: Change, body: bytes) -> list[Violation]:
    if change.new_mode == SYMLINK:
        return list(rules.of_link(change, body))
    if not rules.has_conflict(body):
        return []
    before = [] if change.added else await contents(repo, [change.old_oid])
    if any(text is not None and rules.has_conflict(text) for text in before):
        return []  # a text about conflicts
    return [Violation(change.path, "conflict", f"{rules.shown(change.path)} has conflict markers in it")]


async def _of_siblings(database: Database, tip: str, added: Sequence[str]) -> list[Violation]:
    """Find new names that differ from a neighbour's only in case or accents' spelling: one file on some systems."""
    new: dict[str, set[str]] = defaultdict(set)
    for path in added:
        parts = path.split("/")
        for depth, name in enumerate(parts):
            new["/".join(parts[:depth])].add(name)
    trees = await _trees(database, tip, sorted(new))
    return [violation for folder, names in sorted(new.items()) for violation in _clashes(folder, names, trees[folder])]


def _clashes(folder: str, new: set[str], names: Sequence[str]) -> Iterator[Violation]:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(rules.fold(name), name)
        if other != name and not new.isdisjoint({name, other}):
            path, twin = (f"{folder}/{part}".lstrip("/") for part in (name, other))
            message = f"{rules.shown(path)} and {rules.shown(twin)} are one file where case does not count"
            yield Violation(path, "case", message)


async def _trees(database: Database, tip: str, folders: Sequence[str]) -> Mapping[str, list[str]]:
    """Return the names in some folders of a commit."""
    found = await asyncio.to_thread(_names, database, tip, folders)
    missing = [folder for folder in folders if folder not in found]
    asked = [f"{tip}:{folder}" for folder in missing]
    for folder, data in zip(missing, await contents(database.git_dir, asked), strict=True):
        found[folder] = [name for name, _ in _entries(data or b"", algorithm_of(tip))]
    return found


def _names(database: Database, tip: str, folders: Sequence[str]) -> dict[str, list[str]]:
    """Return the names in those folders that can be read in place."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        try:
            oid: str | None = database.commit(tip).tree
            for part in filter(None, folder.split("/")):
                entry = database.tree(oid).get(part)
                oid = entry.oid if entry and entry.mode == TREE else None
            found[folder] = list(database.tree(oid))
        except Unclear:
            continue
    return found


def _entries(tree: bytes, algorithm: str) -> Iterator[tuple[str, str]]:
    """Yield the names and ids in a tree object."""
    at, width = 0, _OID_BYTES[algorithm]
    while at < len(tree):
        end = tree.index(b"\0", at)
        name = os.fsdecode(tree[tree.index(b" ", at) + 1 : end])
        yield name, tree[end + 1 : end + 1 + width].hex()
        at = end + 1 + width
