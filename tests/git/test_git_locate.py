"""Finding a repository without git agrees with git."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.git.locate import home_name, locate, repository_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def asked(repo: Any, path: Path, what: str) -> str:
    return str(path / repo.at(path).git("rev-parse", "--path-format=absolute", what))


def test_from_the_root_a_subfolder_and_inside_the_git_directory(repo: Any) -> None:
    git_dir = str(repo.path / ".git")
    for start in (repo.path, repo.path / "src", repo.path / "src" / "a.py"):
        assert locate(start) == (git_dir, git_dir, str(repo.path))
    inside = locate(repo.path / ".git" / "refs")
    assert inside == (git_dir, git_dir, str(repo.path))


def test_a_linked_worktree_shares_its_home_with_the_main_one(repo: Any, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    repo.git("worktree", "add", "-q", linked)
    place, main = locate(linked), locate(repo.path)
    assert place is not None
    assert main is not None
    assert place.git_dir == asked(repo, linked, "--git-dir") != place.common_dir
    assert place.top_level == str(linked)
    assert home_name(place.common_dir) == home_name(main.common_dir)


@pytest.mark.parametrize("name", ["plain", "with space", "with\nnewline", "ümläut", os.fsdecode(b"\xff\xfe")])
def test_odd_paths(tmp_path: Path, make_repo: Callable[..., Any], name: str) -> None:
    repo = make_repo(tmp_path / name)
    place = locate(repo.path)
    assert place is not None
    assert place.top_level == str(repo.path)
    assert re.fullmatch(r"[A-Za-z0-9._-]+-[0-9a-f]{12}", home_name(place.common_dir))


def test_bare_and_separate_git_directories(tmp_path: Path, make_repo: Callable[..., Any]) -> None:
    bare = make_repo(tmp_path / "bare.git", "--bare")
    assert locate(bare.path / "refs") == (str(bare.path), str(bare.path), None)
    apart = make_repo(tmp_path / "apart", "--separate-git-dir", str(tmp_path / "else.git"))
    assert locate(apart.path) == (str(tmp_path / "else.git"),) * 2 + (str(apart.path),)


def test_through_a_symbolic_link(repo: Any, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(repo.path)
    assert locate(tmp_path / "link" / "src") == locate(repo.path)


def test_no_repository_and_what_only_looks_like_one(tmp_path: Path) -> None:
    assert locate(tmp_path) is None
    (tmp_path / ".git").mkdir()
    assert locate(tmp_path) is None
    (tmp_path / ".git").rmdir()
    (tmp_path / ".git").write_text("gitdir: /nowhere\n")
    assert locate(tmp_path) is None


def test_names() -> None:
    assert repository_name("/x/project/.git") == "project"
    assert repository_name("/x/project.git") == "project"
    assert repository_name("/x/..../.git") == "repository"
    assert home_name("/x/a/.git") != home_name("/y/a/.git")


def test_it_is_cheap_to_import() -> None:
    script = (
        "import sys, coordstore_orchestrator.git.locate; print(*{'asyncio', 'coordstore', 'pydantic'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == ""
