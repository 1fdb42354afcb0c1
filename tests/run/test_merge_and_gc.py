"""`coord merge` and `coord gc` from the outside: branches that move, work that must not be dropped."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.git.errors import LandRefused
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.merge import onto

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.conftest import Place


def commit_on(place: Place, branch: str, name: str, text: str) -> str:
    """Commit a file to a branch that is not checked out."""
    stream = (
        f"commit refs/heads/{branch}\ncommitter U <u@x> 1700000000 +0000\ndata 1\nx\nfrom refs/heads/{branch}^0\n"
        f"M 100644 inline {name}\ndata {len(text)}\n{text}\n"
    )
    argv = ["git", "-C", str(place.repository), "fast-import", "--quiet"]
    subprocess.run(argv, input=stream.encode(), check=True)
    return place.git("rev-parse", branch).strip()


@pytest.mark.req("G1", "C2")
def test_a_result_is_merged_into_a_branch_that_went_on(place: Place) -> None:
    place.git("branch", "release")
    assert place.run(place.plan({"t": {}})).code == 0
    commit_on(place, "release", "other.txt", "other\n")
    before = place.untouched()
    done = place.coord("merge", "s", "--into", "release")
    assert done.code == 0, done
    names = place.git("ls-tree", "--name-only", "release").split()
    assert {"t.txt", "other.txt"} <= set(names)
    tip = place.git("rev-parse", "release")
    assert place.coord("merge", "s", "--into", "release").code == 0
    assert place.git("rev-parse", "release") == tip, "merged twice"
    refused = place.coord("merge", "s", "--into", "main")
    assert (refused.code, "main is checked out in" in refused.err) == (1, True), refused
    assert place.coord("merge", "s", "--into", "nowhere").code == 2
    commit_on(place, "release", "t.txt", "mine\n")
    assert place.untouched() == before


@pytest.mark.req("G1")
def test_a_branch_that_conflicts_is_left_alone(place: Place) -> None:
    place.git("branch", "release")
    assert place.run(place.plan({"t": {}})).code == 0
    tip = commit_on(place, "release", "t.txt", "mine\n")
    done = place.coord("merge", "s", "--into", "release")
    assert (done.code, "conflict in t.txt" in done.err) == (1, True), done
    assert place.git("rev-parse", "release").strip() == tip


@pytest.mark.req("G1")
async def test_a_branch_that_moves_while_it_is_merged_is_merged_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody commits between the merge and the move of the ref: that commit is not lost."""
    place.git("branch", "release")
    place.git("branch", "work")
    work = commit_on(place, "work", "work.txt", "w\n")
    whole, moves = onto._moved, list[str]()

    async def moved(user: UserRepository, name: str, old: str, new: str) -> bool:
        if len(moves) < 2:
            moves.append(await asyncio.to_thread(commit_on, place, "release", f"quick{len(moves)}.txt", "q\n"))
        return await whole(user, name, old, new)

    monkeypatch.setattr(onto, "_moved", moved)
    user = await UserRepository.discover(place.repository)
    tip = await onto.merge_into(user, tmp_path, "release", work, "m")
    assert place.git("rev-parse", "release").strip() == tip
    assert {"work.txt", "quick0.txt", "quick1.txt"} <= set(place.git("ls-tree", "--name-only", "release").split())
    assert all(commit in place.git("rev-list", "release").split() for commit in [*moves, work])
    monkeypatch.setattr(onto, "TRIES", 1)
    moves.clear()
    later = commit_on(place, "work", "later.txt", "l\n")
    with pytest.raises(LandRefused, match="moved 1 times"):
        await onto.merge_into(user, tmp_path, "release", later, "m")
    place.git("fsck", "--strict")


def folder(place: Place, session: str = "s") -> Path:
    (found,) = place.folder.glob(f"state/*/sessions/{session}")
    return found


@pytest.mark.req("G4", "C2", "M9")
def test_gc_removes_what_landed_and_refuses_to_drop_what_did_not(place: Place) -> None:
    assert place.run(place.plan({"t": {}})).code == 0
    half: dict[str, Any] = {"u": {"sh": "echo half > u.txt; exit 1"}}
    assert place.coord("run", place.plan(half), "--session", "half").code == 1
    tip = place.git("rev-parse", "coord/s")
    assert "would be removed" in place.coord("gc", "s", "--dry-run").out
    assert folder(place).is_dir()
    done = place.coord("gc")
    assert done.code == 1, done
    assert "s: removed" in done.out
    assert "u.1 has work that did not land: branch u.1" in done.out
    assert not (folder(place, "half").parent / "s").exists()
    assert place.git("rev-parse", "coord/s") == tip
    assert place.tasks()["t"]["landed"], "what happened can still be looked at"
    assert place.coord("gc", "--force").code == 2
    assert place.coord("gc", "half", "--force", "--records").code == 0
    assert not list(place.folder.glob("state/*/sessions/*"))
    assert [each["id"] for each in json.loads(place.coord("inspect", "--json").out)["sessions"]] == ["s"]
    assert place.coord("gc", "nothing").code == 2


@pytest.mark.req("G4")
def test_gc_leaves_a_session_that_is_not_finished(place: Place) -> None:
    plan = place.plan({"t": {}})
    assert place.run(plan, "--no-merge").code == 0
    assert "t.1 has work that did not land" in place.coord("gc").out
    worktree = folder(place) / "worktrees/t.1"
    assert not worktree.exists()
    assert place.run(plan).code == 0
    assert place.coord("gc").code == 0
    assert not list(place.folder.glob("state/*/sessions/*"))
