"""The user's repository as it is found: every shape of it, every reason why not, and nothing written."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.git.errors import NotARepository, UnknownBase
from coordstore_orchestrator.git.user import UserRepository

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.req("G1")
async def test_reading_changes_nothing(repo: Any) -> None:
    repo.write("README.md", "changed\n")
    repo.write("new file")
    os.utime(repo.path / "src/a.py")  # git would refresh its index for this one
    before = repo.fingerprint()
    user = await UserRepository.discover(repo.path / "src")
    assert await user.resolve() == repo.git("rev-parse", "HEAD")
    assert await user.is_dirty() == 2
    assert repo.fingerprint() == before
    assert (user.top_level, user.name) == (repo.path, "user")
    assert user.home_name.startswith("user-")


async def test_ignored_files_are_not_dirt(repo: Any) -> None:
    repo.commit(**{".gitignore": "*.log\n"})
    repo.write("x.log")
    user = await UserRepository.discover(repo.path)
    assert await user.is_dirty() == 0


async def test_bases(repo: Any) -> None:
    user, first = await UserRepository.discover(repo.path), repo.git("rev-parse", "HEAD")
    repo.git("tag", "-a", "v1", "-m", "annotated")
    second = repo.commit("second")
    assert [await user.resolve(name) for name in ("HEAD", "main", "v1", "HEAD~1", second[:10])] == [
        second,
        second,
        first,
        first,
        second,
    ]
    for wrong in ("nope", "--upload-pack=touch x", "HEAD:README.md", "a..b", "main\0x", "", "@{99}"):
        with pytest.raises(UnknownBase):
            await user.resolve(wrong)


async def test_no_repository_and_no_commit_are_sentences(tmp_path: Path, make_repo: Callable[..., Any]) -> None:
    with pytest.raises(NotARepository, match=r"is not inside a git repository; go into one, or name it with --repo"):
        await UserRepository.discover(tmp_path)
    user = await UserRepository.discover(make_repo(tmp_path / "empty").path)
    with pytest.raises(UnknownBase, match="'empty' has no commit yet: make one first"):
        await user.resolve()


async def test_a_linked_worktree_has_its_own_head(repo: Any, tmp_path: Path) -> None:
    repo.git("worktree", "add", "-q", "-b", "side", tmp_path / "linked")
    linked = repo.at(tmp_path / "linked")
    commit = linked.commit("side", side="x")
    user = await UserRepository.discover(linked.path)
    assert await user.resolve() == commit != repo.git("rev-parse", "HEAD")
    assert (user.common_dir, user.top_level) == (repo.path / ".git", linked.path)


async def test_bare_sha256_and_shallow(repo: Any, tmp_path: Path, make_repo: Callable[..., Any]) -> None:
    repo.commit("second")
    repo.git("clone", "-q", "--bare", repo.path, tmp_path / "bare.git")
    bare = await UserRepository.discover(tmp_path / "bare.git")
    assert (bare.top_level, await bare.is_dirty()) == (None, 0)
    assert await bare.resolve() == repo.git("rev-parse", "HEAD")
    repo.git("clone", "-q", "--depth=1", f"file://{repo.path}", tmp_path / "shallow")
    shallow = await UserRepository.discover(tmp_path / "shallow")
    assert shallow.shallow.decode().strip() == repo.git("rev-parse", "HEAD")
    other = make_repo(tmp_path / "other", "--object-format=sha256")
    other.commit("x")
    user = await UserRepository.discover(other.path)
    assert user.algorithm == "sha256"
    assert len(await user.resolve()) == 64


async def test_who_commits_is_what_git_says(
    repo: Any, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def found() -> tuple[str, str, bool]:
        who = (await UserRepository.discover(repo.path)).identity
        return who.name, who.email, who.configured

    (clean_environment / ".gitconfig").write_text("[user]\n\tuseConfigOnly = true\n")
    assert await found() == ("coord", "coord@localhost", False)
    (clean_environment / ".gitconfig").write_text("[user]\n\tname = Ann O\n\temail = ann@x\n")
    assert await found() == ("Ann O", "ann@x", True)
    repo.git("config", "user.email", "ann@work")
    assert await found() == ("Ann O", "ann@work", True)
    monkeypatch.setenv("GIT_COMMITTER_NAME", "From Outside")
    assert await found() == ("From Outside", "ann@work", True)
    monkeypatch.delenv("GIT_COMMITTER_NAME")
    repo.git("config", "--unset", "user.email")
    (clean_environment / ".gitconfig").write_text("[user]\n\tname = Ann O\n")
    monkeypatch.setenv("EMAIL", "ann@home")
    assert await found() == ("Ann O", "ann@home", True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a repository of another owner")
async def test_a_repository_of_another_owner_is_gits_decision(repo: Any, clean_environment: Path) -> None:
    os.chown(repo.path, 65534, 65534)
    os.chown(repo.path / ".git", 65534, 65534)
    with pytest.raises(NotARepository, match=r"dubious ownership"):
        await UserRepository.discover(repo.path)
    (clean_environment / ".gitconfig").write_text(f"[safe]\n\tdirectory = {repo.path}\n")
    user = await UserRepository.discover(repo.path)
    assert await user.resolve() == repo.git("rev-parse", "HEAD")


async def test_personal_ignores_and_line_endings_are_carried_to_agents(repo: Any, clean_environment: Path) -> None:
    (clean_environment / ".config/git").mkdir(parents=True)
    (clean_environment / ".config/git/ignore").write_text("*.swp\n")
    repo.write(".git/info/exclude", "private/\n")
    repo.git("config", "core.autocrlf", "input")
    user = await UserRepository.discover(repo.path)
    assert user.exclude.split() == [b"*.swp", b"private/"]
    assert user.settings["core.autocrlf"] == "input"
