"""A user's repository, and a session's beside it, made by plain git so that our code is checked by another's."""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.git.session import SessionRepository
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.merge.integrate import Integration

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True)
class Repo:
    """A repository or worktree, handled by git itself."""

    path: Path

    def git(self, *args: str | os.PathLike[str], check: bool = True, **env: str) -> str:
        who = {
            "GIT_AUTHOR_NAME": "U",
            "GIT_AUTHOR_EMAIL": "u@x",
            "GIT_COMMITTER_NAME": "U",
            "GIT_COMMITTER_EMAIL": "u@x",
        }
        done = subprocess.run(
            ["git", *args], cwd=self.path, check=False, capture_output=True, env={**os.environ, **who, **env}
        )
        assert not check or done.returncode == 0, done.stderr
        return os.fsdecode(done.stdout).rstrip("\n")

    def write(self, name: str, content: str | bytes = "text\n") -> Path:
        file = self.path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        return file

    def commit(self, message: str = "change", **files: str) -> str:
        for name, content in files.items():
            self.write(name, content)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def at(self, path: Path) -> Repo:
        return Repo(path)

    def fingerprint(self) -> dict[str, str]:
        """Return a digest of every file below the folder, those of git included, and of its mode."""
        found = {}
        for path in sorted(self.path.rglob("*")):
            name = os.fsdecode(os.fsencode(path.relative_to(self.path)))
            if path.is_symlink() or path.is_file():
                data = os.fsencode(path.readlink()) if path.is_symlink() else path.read_bytes()
                found[name] = f"{path.lstat().st_mode:o} {hashlib.sha256(data).hexdigest()}"
        return found


def new_repo(path: Path, *options: str) -> Repo:
    path.mkdir(parents=True)
    repo = Repo(path)
    repo.git("init", "-q", "-b", "main", *options)
    return repo


@pytest.fixture
def make_repo() -> Callable[..., Repo]:
    return new_repo


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    """Give a small repository with one commit."""
    found = new_repo(tmp_path / "user")
    found.write("README.md", "hello\n")
    found.write("src/a.py", "one\ntwo\nthree\n")
    found.write("src/b.py", "b\n")
    found.write("run.sh", "#!/bin/sh\n").chmod(0o755)
    found.commit("begin")
    return found


class World:
    """A user's repository with an open session and its integration."""

    def __init__(self, root: Path, repo: Repo) -> None:
        self.root = root
        self.repo = repo
        self.session = SessionRepository(root / "state" / "repo", now=lambda: 1_700_000_000)
        self.integration = Integration(root / "state" / "integration.git", now=lambda: 1_700_000_000)
        self.user: Any = None
        self.base = ""

    async def open(self) -> World:
        self.user = await UserRepository.discover(self.repo.path)
        self.base = await self.user.resolve()
        await self.session.create(self.user, self.base)
        await self.integration.create(self.user, self.session)
        return self

    async def add(self, agent: str, base: str | None = None) -> Repo:
        path = self.root / "trees" / agent
        await self.session.add_worktree(agent, base or self.base, path)
        return Repo(path)

    async def work(self, agent: str, base: str | None = None, **files: str) -> str:
        """Let an agent commit some files (`a__py` for a.py is not needed: names are taken as they are)."""
        tree = await self.add(agent, base)
        tree.commit(agent, **files)
        return await self.session.head(agent, tree.path, base or self.base)


@pytest.fixture
async def world(tmp_path: Path, repo: Repo) -> World:
    return await World(tmp_path, repo).open()


@pytest.fixture
def make_world() -> type[World]:
    return World
