"""Merge trees name by name, where no file's content has to be merged: what most parallel work comes down to.

A name that only one side changed takes that side's entry; a folder that both changed is merged name by name. That is
git's own result as long as no name was changed by both: a rename that matters to the other side removes a name that
this one changed, and a folder that one side moved away is a name that both changed as soon as the other adds to it.
Everything else is `Unclear`, and git's to merge.

The base must be the one that git would take: the only best common ancestor. It is looked for only where that is
easy to see: the work is a row of commits on one of those that lie between the session's base and its tip.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore_orchestrator.git.database import TREE, Entry, Unclear, tree_text
from coordstore_orchestrator.git.objects import algorithm_of, write_loose

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from coordstore_orchestrator.git.database import Database

__all__ = ["differences", "fork_point", "merge_trees"]

WALK_MAX: Final = 10_000
"""Commits between a session's base and its tip that are looked at."""
DEPTH_MAX: Final = 100
"""Folders in folders."""


def fork_point(database: Database, root: str, ours: str, theirs: str) -> str:
    """Return the commit of our history that another one's row of commits stands on: their only merge base.

    Args:
        database: Sees all commits.
        root: The commit that all of our history is known to descend from.
        ours: Our tip.
        theirs: The other.

    Raises:
        Unclear: History is not that simple.
    """
    between = _history(database, root, ours)
    for _ in range(WALK_MAX):
        if theirs in between:
            return theirs
        parents = database.commit(theirs).parents
        if len(parents) != 1:
            raise Unclear(theirs)
        theirs = parents[0]
    raise Unclear(theirs)


def _history(database: Database, root: str, tip: str) -> set[str]:
    """Return the commits from a tip down to the root; every way down must end there.

    Else an older commit than the root could be found first, which is not the best common ancestor.
    """
    found, waiting = {root, tip}, [tip] if tip != root else []
    while waiting:
        parents = database.commit(waiting.pop()).parents
        if not parents or len(found) > WALK_MAX:
            raise Unclear(tip)
        new = set(parents) - found
        found |= new
        waiting.extend(new)
    return found


def merge_trees(
    database: Database, objects: Path, base: str | None, ours: str, theirs: str, depth: int = 0
) -> tuple[str | None, list[str]]:
    """Merge two trees; return the merged one (None: nothing is left in it) and those that were written for it.

    Args:
        database: Sees all trees.
        objects: Where new trees are written, not yet durably.
        base: The tree that both come from; None: neither does from any.
        ours: One.
        theirs: The other.
        depth: How far down it is.

    Raises:
        Unclear: Both changed the same name, in other ways than inside a folder.
    """
    if depth > DEPTH_MAX:
        raise Unclear(ours)
    before, mine, other = (database.tree(oid) for oid in (base, ours, theirs))
    merged, written = dict(mine), list[str]()
    for name in _differing(before, other):
        old, here, there = before.get(name), mine.get(name), other.get(name)
        if here != old:
            there, below = _both(database, objects, old, here, there, depth)
            written += below
        if there is None:
            merged.pop(name, None)
        else:
            merged[name] = there
    if not merged and depth:
        return None, written
    oid = write_loose(objects, "tree", tree_text(merged), algorithm_of(ours))
    database.remember(oid, merged)
    return oid, [*written, oid]


def _both(
    database: Database, objects: Path, old: Entry | None, here: Entry | None, there: Entry | None, depth: int
) -> tuple[Entry | None, list[str]]:
    """Merge what both sides changed: folders can be."""
    if here is None or there is None or any(entry and entry.mode != TREE for entry in (old, here, there)):
        raise Unclear(str(here))
    base = old.oid if old else None
    oid, written = merge_trees(database, objects, base, here.oid, there.oid, depth + 1)
    return (Entry(TREE, oid) if oid else None), written


def _differing(one: Mapping[str, Entry], two: Mapping[str, Entry]) -> list[str]:
    return [name for name in {**one, **two} if one.get(name) != two.get(name)]


def differences(
    database: Database, one: str | None, two: str | None, folder: str = "", depth: int = 0
) -> Iterator[tuple[str, Entry | None, Entry | None]]:
    """Yield the paths of files in which two trees differ, each with what it was and what it is, in no order.

    Args:
        database: Sees both.
        one: A tree; None: one without names.
        two: The other.
        folder: Where they are, for the paths.
        depth: How far down it is.

    Raises:
        Unclear: A tree cannot be read here.
    """
    if depth > DEPTH_MAX:
        raise Unclear(folder)
    before, after = database.tree(one), database.tree(two)
    for name in _differing(before, after):
        old, new = before.get(name), after.get(name)
        trees = [entry.oid if entry and entry.mode == TREE else None for entry in (old, new)]
        path = f"{folder}{name}"
        if any(trees):
            yield from differences(database, trees[0], trees[1], f"{path}/", depth + 1)
        files = [None if entry and entry.mode == TREE else entry for entry in (old, new)]
        if any(files):
            yield path, files[0], files[1]
