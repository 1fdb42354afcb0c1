"""Where a repository's home is, found from wherever somebody stands in it."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

import pytest

from coordstore import home
from coordstore.home import NotARepository, default_store_url, find_common_dir, home_dir


def git(folder: Path, *args: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.net", "-c", "protocol.file.allow=always"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *args], check=True, capture_output=True)
    return done.stdout.decode().strip()


@pytest.fixture
def no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no git be found, so that using it fails."""
    monkeypatch.setenv("PATH", "/nonexistent")


def said_by_git(folder: Path) -> Path:
    return Path(git(folder, "rev-parse", "--path-format=absolute", "--git-common-dir")).resolve()


def test_the_home_is_named_after_the_repository_and_its_place(repository: Path, clean_environment: Path) -> None:
    digest = hashlib.sha256(os.fsencode((repository / ".git").resolve())).hexdigest()[:12]
    expected = clean_environment / "state" / "coord" / f"my-project-{digest}"
    assert home_dir(repository) == expected
    assert default_store_url(repository) == f"sqlite:{expected}/store.db"
    assert not expected.parent.exists(), "looking creates nothing"


@pytest.mark.parametrize("where", ["src/deep", ".git", ".git/hooks"])
def test_every_folder_of_a_repository_has_the_same_home(repository: Path, where: str, no_git: None) -> None:
    (repository / where).mkdir(parents=True, exist_ok=True)
    assert home_dir(repository / where) == home_dir(repository)


def test_a_linked_worktree_shares_the_home_and_needs_no_git(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    linked = repository.parent / "linked"
    git(repository, "worktree", "add", "-q", "-b", "other", str(linked))
    (linked / "sub").mkdir()
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_common_dir(linked / "sub") == (repository / ".git").resolve()
    assert home_dir(linked) == home_dir(repository)


def test_a_submodule_is_a_repository_of_its_own(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = tmp_path / "inner"
    git(tmp_path, "init", "-q", str(inner))
    git(inner, "commit", "-q", "--allow-empty", "-m", "x")
    git(repository, "submodule", "--quiet", "add", str(inner), "lib/inner")
    expected = said_by_git(repository / "lib/inner")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_common_dir(repository / "lib/inner") == expected
    assert home_dir(repository / "lib/inner") != home_dir(repository)


def test_a_bare_repository_is_named_without_its_suffix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q", "--bare", "central.git")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert find_common_dir(tmp_path / "central.git" / "refs") == tmp_path / "central.git"
    assert home_dir(tmp_path / "central.git").name.startswith("central-")


def test_a_symbolic_link_leads_to_the_same_home(repository: Path, tmp_path: Path, no_git: None) -> None:
    (tmp_path / "link").symlink_to(repository)
    assert home_dir(tmp_path / "link") == home_dir(repository)


def test_git_dir_decides_as_it_does_for_git(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git(tmp_path, "init", "-q", "other")
    monkeypatch.setenv("GIT_DIR", str(repository / ".git"))
    assert find_common_dir(tmp_path / "other") == (repository / ".git").resolve()
    monkeypatch.setenv("GIT_DIR", ".git")
    assert find_common_dir(tmp_path / "other") == (tmp_path / "other/.git").resolve()


def test_an_empty_dot_git_is_passed_over_as_git_does(repository: Path, no_git: None) -> None:
    (repository / "sub" / ".git").mkdir(parents=True)
    assert find_common_dir(repository / "sub") == (repository / ".git").resolve()


def test_a_pointer_that_leads_nowhere_is_told_in_the_words_of_git(tmp_path: Path) -> None:
    (tmp_path / ".git").write_text("gitdir: /nonexistent/worktrees/x\n")
    with pytest.raises(NotARepository, match=r"no git repository that git can read \(not a git repository: /nonexist"):
        find_common_dir(tmp_path)


def test_a_pointer_that_leads_nowhere_without_git_says_that(tmp_path: Path, no_git: None) -> None:
    (tmp_path / ".git").write_text("nonsense")
    with pytest.raises(NotARepository, match="git does not start"):
        find_common_dir(tmp_path)


def test_outside_of_a_repository_the_error_says_what_to_do(tmp_path: Path, no_git: None) -> None:
    with pytest.raises(NotARepository, match=r"is not inside a git repository: go into one, or .*--store URL"):
        default_store_url(tmp_path)


@pytest.mark.req("C1")
def test_inside_a_worktree_of_a_session_the_home_is_the_session_s(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = home_dir(repository)
    session = home.session_dir(own, "shop")
    session.mkdir(parents=True)
    git(repository, "clone", "-q", "--bare", str(repository), str(session / "agents.git"))
    tree = home.worktree_dir(own, "shop", "t1.1")
    git(session / "agents.git", "worktree", "add", "-q", "-b", "t1.1", str(tree))
    (session / "logs").mkdir()
    assert home_dir(tree) == home_dir(session / "logs") == own
    monkeypatch.setenv("COORD_HOME", str(repository.parent / "elsewhere"))
    assert home_dir(tree) == own, "an agent's environment does not have COORD_HOME"


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"COORD_HOME": "/chosen", "XDG_STATE_HOME": "/state"}, "/chosen"),
        ({"XDG_STATE_HOME": "/state"}, "/state/coord"),
        ({"COORD_HOME": "", "XDG_STATE_HOME": "relative", "HOME": "/me"}, "/me/.local/state/coord"),
        ({"COORD_HOME": "~/here", "HOME": "/me"}, "/me/here"),
    ],
)
def test_the_state_folder_comes_from_the_environment(
    variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert home.state_dir() == Path(expected)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("/x/plain/.git", "plain"),
        ("/x/plain.git", "plain"),
        ("/x/ein Wörterbuch/.git", "ein-W-rterbuch"),
        ("/x/--\n;rm -rf/.git", "rm--rf"),
        ("/x/.../.git", "repository"),
        ("/x/" + "n" * 200 + "/.git", "n" * 40),
    ],
)
def test_a_home_s_name_is_safe_whatever_the_repository_is_called(folder: str, name: str) -> None:
    made = home.home_name(Path(folder))
    assert made == f"{name}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"


def test_the_layout_of_a_session(tmp_path: Path) -> None:
    session = tmp_path / "sessions" / "s"
    assert home.session_dir(tmp_path, "s") == session
    assert home.worktree_dir(tmp_path, "s", "t1.1") == session / "worktrees" / "t1.1"
    assert home.log_dir(tmp_path, "s", "t1.1") / home.STDOUT_LOG == session / "logs" / "t1.1" / "stdout.log"
