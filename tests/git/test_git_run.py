"""The runner: what git gets to see, what a failure says, what a cancellation leaves."""

from __future__ import annotations

import asyncio
import errno
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import CoordError
from coordstore_orchestrator.git import run
from coordstore_orchestrator.git.errors import GitError, GitMissing, LandRefused
from coordstore_orchestrator.git.run import git, pipe, require_git

if TYPE_CHECKING:
    from pathlib import Path


async def environment_of_git(**options: Any) -> dict[str, str]:
    """Let git run `env` as an alias and return what it printed: the environment that its children get."""
    result = await git(["-c", "alias.show=!env -0", "show-env"], check=False, **options)
    assert result.returncode != 0  # no such alias: aliases cannot replace a command, they add one
    result = await git(["-c", "alias.showenv=!env -0", "showenv"], **options)
    pairs = (entry.partition("=") for entry in os.fsdecode(result.stdout).split("\0") if entry)
    return {name: value for name, _, value in pairs}


async def test_git_sees_nothing_of_the_callers_repository(repo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_SSH_COMMAND", "GIT_TRACE"):
        monkeypatch.setenv(name, "/nowhere")
    monkeypatch.setenv("SECRET_TOKEN", "s3cret")
    seen = await environment_of_git(cwd=repo.path)
    assert "/nowhere" not in seen.values()
    assert "SECRET_TOKEN" not in seen
    assert seen["GIT_CONFIG_NOSYSTEM"] == "1"
    assert seen["GIT_TERMINAL_PROMPT"] == "0"
    assert seen["GIT_NO_REPLACE_OBJECTS"] == "1"


async def test_our_repositories_do_not_read_the_users_configuration(repo: Any, clean_environment: Path) -> None:
    (clean_environment / ".gitconfig").write_text("[user]\n\tname = Global\n")
    own = await git(["config", "user.name"], cwd=repo.path, check=False)
    users = await git(["config", "user.name"], cwd=repo.path, trust_user=True)
    assert (own.stdout, users.stdout) == (b"", b"Global\n")


async def test_hooks_and_monitors_are_off_whatever_the_configuration_says(repo: Any) -> None:
    repo.git("config", "core.fsmonitor", "touch canary")
    repo.git("config", "core.hooksPath", ".hooks")
    for key, value in (("core.fsmonitor", b"false\n"), ("core.hooksPath", b"/dev/null\n")):
        assert (await git(["config", key], cwd=repo.path, trust_user=True)).stdout == value


async def test_a_failure_tells_command_status_and_gits_own_words(repo: Any) -> None:
    with pytest.raises(
        GitError, match=r"`git cat-file commit …` failed with exit status 128: fatal: Not a valid"
    ) as caught:
        await git(["cat-file", "commit", "nothing"], cwd=repo.path)
    assert caught.value.argv == ("git", "cat-file", "commit", "nothing")
    assert caught.value.returncode == 128
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301  # our own bytes, made on this line
    assert (str(again), vars(again)) == (str(caught.value), vars(caught.value))


async def test_a_lock_that_a_killed_git_left_is_named_and_not_removed(repo: Any) -> None:
    lock = repo.write(".git/index.lock", "")
    with pytest.raises(GitError, match=r"index\.lock.*remove that lock file by hand"):
        await git(["add", "README.md"], cwd=repo.path)
    assert lock.exists()


async def test_a_missing_folder_is_not_called_a_missing_git(tmp_path: Path) -> None:
    with pytest.raises(GitError, match="there is no such folder"):
        await git(["version"], cwd=tmp_path / "gone")


async def test_no_git_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissing, match=r"install git 2\.38 or newer"):
        await require_git()
    with pytest.raises(GitMissing):
        await pipe(["version"], ["version"], first_dir=tmp_path, second_dir=tmp_path, stdin=b"")


@pytest.mark.parametrize(
    ("said", "message"), [("git version 2.30.2", r"2\.30 is too old: at least 2\.38"), ("moo", "is no version")]
)
async def test_a_git_that_is_too_old_or_none_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, message: str
) -> None:
    stub = tmp_path / "git"
    stub.write_text(f"#!/bin/sh\necho '{said}'\n")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(GitMissing, match=message) as caught:
        await require_git()
    assert isinstance(caught.value, CoordError)


async def test_the_version_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    first = await require_git()

    async def refuse(*_args: object) -> None:
        pytest.fail("asked again")

    monkeypatch.setattr(run, "git", refuse)
    assert await require_git() == first >= run.MINIMUM


async def test_a_cancelled_call_has_killed_its_git(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.ensure_future(git(["hash-object", "--no-filters", fifo], cwd=tmp_path))
    writer = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)  # opens when git has the other end
    try:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(BrokenPipeError):  # nobody reads any more
            os.write(writer, b"x")
    finally:
        os.close(writer)


async def test_cancelling_twice_still_waits_for_the_end(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    task = asyncio.ensure_future(git(["hash-object", "--no-filters", fifo], cwd=tmp_path))
    writer = await asyncio.to_thread(os.open, fifo, os.O_WRONLY)
    os.close(writer)
    for _ in range(3):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    with pytest.raises(OSError, match=os.strerror(errno.ENXIO)):
        os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)


async def test_a_pipe_tells_of_the_first_that_failed(repo: Any) -> None:
    with pytest.raises(GitError, match="pack-objects"):
        await pipe(
            ["pack-objects", "--revs", "--stdout", "-q"],
            ["index-pack", "--stdin"],
            first_dir=repo.path / ".git",
            second_dir=repo.path / ".git",
            stdin=b"0000000000000000000000000000000000000001\n",
        )


async def test_a_pipe_tells_of_the_second_when_the_first_only_lost_its_reader(repo: Any) -> None:
    (repo.path / "large").write_bytes(os.urandom(1 << 20))
    repo.git("add", "large")
    with pytest.raises(GitError, match="no-such-command"):
        await pipe(
            ["cat-file", "blob", ":large"],
            ["no-such-command"],
            first_dir=repo.path / ".git",
            second_dir=repo.path / ".git",
            stdin=b"",
        )


def test_refusals_keep_their_details_when_pickled() -> None:
    error = LandRefused("moved", ref="refs/heads/coord/x", expected=None, found="abc")
    again = pickle.loads(pickle.dumps(error))  # noqa: S301  # our own bytes, made on this line
    assert (str(again), vars(again)) == ("moved", {"ref": "refs/heads/coord/x", "expected": None, "found": "abc"})
