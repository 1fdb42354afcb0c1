"""Objects and refs written in place are what git would have written."""

from __future__ import annotations

import subprocess
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordstore_orchestrator.git import refs
from coordstore_orchestrator.git.errors import GitError
from coordstore_orchestrator.git.objects import (
    Identity,
    algorithm_of,
    commit_text,
    descends,
    read_loose,
    write_loose,
)
from coordstore_orchestrator.git.refs import read_head, read_ref, write_file, write_ref

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=3000))
def test_git_reads_what_we_write_and_we_what_git_writes(repo: Any, data: bytes) -> None:
    objects = repo.path / ".git" / "objects"
    oid = write_loose(objects, "blob", data, "sha1", durable=True)
    shown = subprocess.run(["git", "cat-file", "blob", oid], cwd=repo.path, check=True, capture_output=True)
    assert shown.stdout == data
    args = ["git", "hash-object", "-w", "--stdin"]
    by_git = subprocess.run(args, cwd=repo.path, check=True, capture_output=True, input=data + b"!").stdout
    loose = read_loose([objects], by_git.decode().strip())
    assert loose is not None
    assert (loose.kind, loose.size, loose.body) == ("blob", len(data) + 1, data + b"!")


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.text(max_size=30), email=st.text(max_size=30), message=st.text(max_size=200))
def test_commits_with_any_names_pass_gits_own_check(repo: Any, name: str, email: str, message: str) -> None:
    tree, head = repo.git("rev-parse", "HEAD^{tree}"), repo.git("rev-parse", "HEAD")
    text = commit_text(tree, [head], Identity(name, email), 1_700_000_000, message)
    oid = write_loose(repo.path / ".git/objects", "commit", text, "sha1")
    args = ["git", "hash-object", "-t", "commit", "--stdin"]  # checks the format
    by_git = subprocess.run(args, cwd=repo.path, check=True, capture_output=True, input=text).stdout
    assert by_git.decode().strip() == oid
    assert repo.git("show", "-s", "--format=%P %T", oid) == f"{head} {tree}"


def test_a_size_limit_keeps_content_out_of_memory(repo: Any) -> None:
    oid = write_loose(repo.path / ".git/objects", "blob", b"x" * 1000, "sha1")
    loose = read_loose([repo.path / ".git/objects"], oid, limit=999)
    assert loose is not None
    assert (loose.size, loose.body) == (1000, None)


@pytest.mark.parametrize("content", [b"", b"junk", zlib.compress(b"blob 3\0abcd"), zlib.compress(b"no header")])
def test_damaged_and_forged_objects_are_named(repo: Any, content: bytes) -> None:
    objects = repo.path / ".git/objects"
    oid = write_loose(objects, "blob", b"abc", "sha1")
    path = objects / oid[:2] / oid[2:]
    path.unlink()
    path.write_bytes(content)
    with pytest.raises(GitError, match=f"object {oid}.*cannot be read"):
        read_loose([objects], oid)


def test_an_object_under_a_wrong_id_is_refused(repo: Any) -> None:
    objects = repo.path / ".git/objects"
    good, evil = (write_loose(objects, "blob", text, "sha1") for text in (b"good", b"evil"))
    (objects / evil[:2] / evil[2:]).replace(objects / good[:2] / good[2:])
    with pytest.raises(GitError, match="does not match its id"):
        read_loose([objects], good)


def test_ancestry(repo: Any) -> None:
    objects = [repo.path / ".git/objects"]
    first = repo.git("rev-parse", "HEAD")
    second = repo.commit("second")
    repo.git("checkout", "-q", "--orphan", "other")
    other = repo.commit("other")
    assert descends(objects, first, second) is True
    assert descends(objects, first, first) is True
    assert descends(objects, second, first) is False
    assert descends(objects, first, other) is False
    repo.git("repack", "-adq")
    repo.git("checkout", "-q", "main")
    third = repo.commit("third")
    assert descends(objects, second, third) is True  # it is the parent: no need to read it
    assert descends(objects, first, third) is None  # packed: git has to be asked


def test_hashes_are_told_by_length() -> None:
    assert [algorithm_of("0" * 40), algorithm_of("0" * 64)] == ["sha1", "sha256"]


def test_refs_loose_packed_symbolic_and_hostile(repo: Any, tmp_path: Path) -> None:
    common, head = repo.path / ".git", repo.git("rev-parse", "HEAD")
    assert read_head(common, common) == ("refs/heads/main", head)
    repo.git("pack-refs", "--all")
    assert read_ref(common, "refs/heads/main") == head
    assert read_ref(common, "refs/heads/ain") is None
    repo.git("symbolic-ref", "refs/heads/alias", "refs/heads/main")
    assert read_ref(common, "refs/heads/alias") == head
    repo.git("checkout", "-q", "--detach")
    assert read_head(common, common) == (None, head)
    (tmp_path / "secret").write_text(head)
    (common / "refs/heads/link").symlink_to(tmp_path / "secret")
    for name in ("refs/heads/link", "refs/../../secret", "/etc/passwd", "HEAD", "refs/heads/none"):
        assert read_ref(common, name) is None
    repo.git("symbolic-ref", "refs/heads/x", "refs/heads/y")
    repo.git("symbolic-ref", "refs/heads/y", "refs/heads/x")
    assert read_ref(common, "refs/heads/x") is None


def test_a_ref_lock_is_respected_unless_known_to_be_dead(repo: Any) -> None:
    head = repo.git("rev-parse", "HEAD")
    path = repo.path / ".git/refs/heads/new"
    lock = repo.write(".git/refs/heads/new.lock", "")
    with pytest.raises(GitError, match=r"new\.lock"):
        write_ref(path, head)
    assert lock.exists()
    write_ref(path, head, break_lock=True, durable=True)
    assert repo.git("rev-parse", "new") == head
    assert not lock.exists()


class Waiting:
    """Time for a writer that waits for a lock; its holder writes and lets go at the third look."""

    def __init__(self, lock: Path) -> None:
        self.lock = lock
        self.looks = 0

    def monotonic(self) -> float:
        return self.looks / 1000

    def sleep(self, _seconds: float) -> None:
        self.looks += 1
        if self.looks == 3:
            self.lock.unlink()  # fails when it was broken


def test_a_living_holders_lock_is_not_broken(repo: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    head = repo.git("rev-parse", "HEAD")
    waiting = Waiting(repo.write(".git/refs/heads/new.lock", ""))
    monkeypatch.setattr(refs, "time", waiting)
    write_ref(repo.path / ".git/refs/heads/new", head, break_lock=True)
    assert waiting.looks == 3
    assert repo.git("rev-parse", "new") == head


def test_a_branch_below_the_name_is_told(repo: Any) -> None:
    repo.git("branch", "new/below")
    with pytest.raises(GitError, match="a branch below that name may be in the way"):
        write_ref(repo.path / ".git/refs/heads/new", repo.git("rev-parse", "HEAD"))
    assert not (repo.path / ".git/refs/heads/new.lock").exists()


def test_files_are_replaced_not_written_into(tmp_path: Path, make_repo: Callable[..., Any]) -> None:
    target = tmp_path / "target"
    target.write_text("victim")
    (tmp_path / "file").symlink_to(target)
    assert write_file(tmp_path / "file", b"victim") is True  # a link to the right content is not the right file
    assert not (tmp_path / "file").is_symlink()
    assert write_file(tmp_path / "file", b"victim") is False
    assert target.read_text() == "victim"
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o600
