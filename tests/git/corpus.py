"""Generated repositories and branches, merged by our code and by `git merge` in the same order: the same trees.

What agents may not change (attributes, modes, submodules) is not generated; custom drivers are not used.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import strategies as st

from coordstore_orchestrator.merge.land import land, take_epoch
from tests.git.conftest import Repo, World, new_repo
from tests.git.queue import Queue, import_branches, import_files

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES = ["a.txt", "b.txt", "dir/c.txt", "dir/deep/d.txt", "CHANGES", "dir/CHANGES", "image.bin", "other dir/e f.txt"]
ATTRIBUTES = ["", "CHANGES merge=union\n*.bin -merge\n", "*.txt merge=union\n/dir/** !merge\n", "*.bin binary\n"]
WORDS = ["alpha", "beta", "gamma", "delta"]

Change = tuple[str, str, str]
"""What is done (write, delete, move), to which file, with which text or new name."""


@dataclass(frozen=True)
class Case:
    """A repository and what the branches do to it, in merge order."""

    files: Mapping[str, str]
    branches: tuple[tuple[Change, ...], ...]

    def __repr__(self) -> str:
        return f"Case({dict(self.files)!r}, {self.branches!r})"


texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=9).map(lambda words: "".join(f"{w}\n" for w in words))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Draw a repository, and branches whose changes meet now and then."""
    files = {path: draw(texts) for path in FILES[: draw(st.integers(3, len(FILES)))]}
    attributes = draw(st.sampled_from(ATTRIBUTES))
    if attributes:
        files[".gitattributes"] = attributes
    names = st.sampled_from([path for path in files if path != ".gitattributes"])
    new = st.sampled_from(["new.txt", "dir/new.txt", "b", "dir2/moved.txt", "dir/deep2/x.txt"])
    changes = st.one_of(
        st.tuples(st.just("append"), names, texts),
        st.tuples(st.just("prepend"), names, texts),
        st.tuples(st.just("write"), st.one_of(names, new), texts),
        st.tuples(st.just("delete"), names, st.just("")),
        st.tuples(st.just("move"), names, new),
    )
    branch = st.lists(changes, min_size=1, max_size=3).map(tuple)
    return Case(files, tuple(draw(st.lists(branch, min_size=1, max_size=5))))


def changed(files: Mapping[str, str], changes: tuple[Change, ...]) -> dict[str, str]:
    """Return what a branch makes of the files."""
    found = dict(files)
    for what, path, text in changes:
        if path not in found and what != "write":
            continue
        if what == "write":
            found[path] = text
        elif what == "append":
            found[path] += text
        elif what == "prepend":
            found[path] = text + found[path]
        else:
            content = found.pop(path)
            if what == "move":
                found[text] = content
    return found


def check(case: Case) -> Counter[str]:
    """Merge a case both ways and compare; return what happened how often."""
    with tempfile.TemporaryDirectory() as name:
        return asyncio.run(_check(case, Path(name)))


async def _check(case: Case, folder: Path) -> Counter[str]:
    repo = new_repo(folder / "user")
    import_files(repo.path, case.files)
    (repo.path / "mine.txt").write_text("not committed\n")
    world = await World(folder, repo).open()
    branches = {f"t{n}.1": changed(case.files, changes) for n, changes in enumerate(case.branches)}
    trees = {agent: {**dict.fromkeys(case.files), **files} for agent, files in branches.items()}
    commits = import_branches(world.session.agents_path, world.base, trees)
    expected, refused = _reference(folder, repo, commits)
    before = _mine(repo)
    async with Queue(world).open({agent.partition(".")[0]: {} for agent in commits}) as queue:
        for agent, commit in commits.items():
            await queue.complete(agent.partition(".")[0], commit)
        view = await queue.merge(*commits)
        left_out = {f"{task}.1" for task in view.tasks if not view.merged(task).get("merged")}
        assert left_out == refused, (left_out, refused)
        if view.tip is not None and view.tip != world.base:
            epoch = await take_epoch(world.user, "s1", world.base)
            ref = await land(world.user, world.integration.path, "s1", view.tip, epoch)
            assert repo.git("rev-parse", f"{ref}^{{tree}}") == expected
    for path in (repo.path, world.integration.path, world.session.path):
        fsck(path)
    assert _mine(repo) == before
    return Counter(merged=len(commits) - len(refused), refused=len(refused))


def _reference(folder: Path, repo: Repo, commits: Mapping[str, str]) -> tuple[str, set[str]]:
    """Merge with git itself, in a checkout of its own; return the tree, and which branches conflict."""
    subprocess.run(["git", "clone", "-q", "--shared", str(repo.path), str(folder / "reference")], check=True)
    clone = Repo(folder / "reference")
    alternates = clone.path / ".git/objects/info/alternates"
    with alternates.open("a") as file:
        file.write(f"{folder}/state/repo/agents.git/objects\n")
    refused = set()
    for agent, commit in commits.items():
        clone.git("merge", "-q", "--no-ff", "-m", agent, commit, check=False)
        if (clone.path / ".git/MERGE_HEAD").exists():
            clone.git("merge", "--abort")
            refused.add(agent)
    return clone.git("rev-parse", "HEAD^{tree}"), refused


def fsck(path: Path) -> None:
    """Check every object and link of a repository."""
    done = subprocess.run(
        ["git", "fsck", "--strict", "--full"], cwd=path, capture_output=True, text=True, check=False, env=os.environ
    )
    wrong = [line for line in (done.stdout + done.stderr).splitlines() if not line.startswith(("dangling", "notice"))]
    assert done.returncode == 0, done
    assert not wrong, wrong


def _mine(repo: Repo) -> dict[str, str]:
    """Return what belongs to the user: checkout, index, HEAD, configuration; not objects, nor refs."""
    ours = (".git/objects", ".git/refs/coord", ".git/refs/heads/coord", ".git/logs/refs/heads/coord")
    return {name: digest for name, digest in repo.fingerprint().items() if not name.startswith(ours)}
