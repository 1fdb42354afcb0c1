"""Kills the merge of a session at chosen steps, lets it go on, and compares with what happens undisturbed."""

from __future__ import annotations

import asyncio
import json
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coordstore.plugins import open_store
from coordstore.session.session import Session
from tests.git.conftest import Repo, new_repo
from tests.git.corpus import fsck
from tests.git.merge_child import places, prepare
from tests.git.queue import import_files

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FILES = {"a.txt": "a\n", "b.txt": "b\n", "dir/c.txt": "c\n"}


@dataclass(frozen=True)
class End:
    """What a session left, as far as it may not depend on kills."""

    tree: str
    merges: tuple[str, ...]
    verdicts: str
    refs: tuple[str, ...]
    mine: tuple[tuple[str, str], ...]


class Stage:
    """A prepared session that is put back in place before each trial; paths in it are absolute."""

    def __init__(self, folder: Path) -> None:
        self.live = folder / "live"
        self.kept = folder / "kept"
        repo = new_repo(self.live / "user")
        import_files(repo.path, FILES)
        (repo.path / "mine.txt").write_text("not committed\n")
        asyncio.run(prepare(self.live))
        self.live.rename(self.kept)

    def reset(self) -> None:
        shutil.rmtree(self.live, ignore_errors=True)
        shutil.copytree(self.kept, self.live, symlinks=True)

    def run(self, last: int) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "tests.git.merge_child", str(self.live), str(last)]
        return subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)

    def steps(self) -> int:
        """Run undisturbed; return how many steps that takes."""
        self.reset()
        done = self.run(0)
        assert done.returncode == 0, done.stderr
        return int(done.stdout.split()[-1])

    def end(self) -> End:
        user, home, url = places(self.live)
        repo = Repo(user)
        for path in (user, *home.rglob("*.git")):
            fsck(path)
        mine = {name: digest for name, digest in repo.fingerprint().items() if is_users(name)}
        return End(
            repo.git("rev-parse", "coord/s1^{tree}"),
            tuple(repo.git("log", "--first-parent", "--format=%s", "coord/s1").split("\n")),
            asyncio.run(_verdicts(url)),
            tuple(repo.git("for-each-ref", "--format=%(refname)").split()),
            tuple(sorted(mine.items())),
        )

    def trial(self, step: int, expected: End) -> str | None:
        """Kill at a step and resume; return what is wrong then, or None."""
        self.reset()
        killed = self.run(step)
        if killed.returncode not in (0, -9):
            return f"step {step}: ended with {killed.returncode}: {killed.stderr[-1000:]}"
        again = self.run(0)
        if again.returncode:
            return f"step {step}: not resumed: {again.stderr[-1000:]}"
        try:
            found = self.end()
        except AssertionError as error:
            return f"step {step}: {error}"
        return None if found == expected else f"step {step}: {found} instead of {expected}"


def is_users(name: str) -> bool:
    ours = (".git/objects", ".git/refs/coord", ".git/refs/heads/coord", ".git/logs/refs/heads/coord")
    return not name.startswith(ours)


async def _verdicts(url: str) -> str:
    async with open_store(url) as store:
        view = await Session(store, "s1").view()
    found = {task: (view.landed(task), bool(view.left_out(task))) for task in sorted(view.tasks)}
    return json.dumps([view.state, found])


def sweep(trials: int, seed: int) -> Iterator[tuple[int, str | None]]:
    """Kill at so many steps, all of them when there are fewer; yield each with what was wrong."""
    with tempfile.TemporaryDirectory() as name:
        stage = Stage(Path(name))
        steps = stage.steps()
        expected = stage.end()
        landed = json.loads(expected.verdicts)[1]
        assert {task for task, (lands, _) in landed.items() if lands} == {"t0", "t3", "t4"}, expected
        everything = range(1, steps + 1)
        chosen = random.Random(seed).sample(everything, min(trials, steps))
        for step in sorted(chosen):
            yield step, stage.trial(step, expected)
