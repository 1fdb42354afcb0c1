"""A session's repositories: worktrees made in parallel, leftovers committed, crashes made good."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.git import leftovers
from coordstore_orchestrator.git.errors import GitError, WorktreeRefused
from coordstore_orchestrator.git.session import SessionRepository
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.git.worktrees import Worktrees

if TYPE_CHECKING:
    from collections.abc import Callable

ODD_NAMES = ["with space", "with\nnewline", "-dash", "ümläut", os.fsdecode(b"latin-\xe9"), '"quoted"', "a\\b"]


def died_at(step: int, action: Callable[[], None]) -> bool:
    """Run something in a child that is killed (-9) just before its n-th change of a file; return whether it was."""
    child = os.fork()
    if child == 0:
        seen = 0

        def watch(event: str, args: tuple[object, ...]) -> None:
            nonlocal seen
            creates = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
            if creates or event in {"os.mkdir", "os.rename", "os.remove", "os.rmdir"}:
                seen += 1
                if seen == step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


# Creating ------------------------------------------------------------------------------------------------------------


@pytest.mark.req("G1")
async def test_creating_leaves_the_user_alone_and_is_private(world: Any, repo: Any) -> None:
    before = repo.fingerprint()
    await world.open()
    assert repo.fingerprint() == before
    for path in world.session.folder.rglob("*"):
        assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path
    for path in (world.session.path, world.session.agents_path, world.integration.path):
        assert repo.at(path).git("cat-file", "-t", world.base) == "commit"
        repo.at(path).git("fsck", "--strict")


def test_killed_at_any_step_of_creating_and_created_again(repo: Any, tmp_path: Path) -> None:
    user = asyncio.run(UserRepository.discover(repo.path))
    base = repo.git("rev-parse", "HEAD")
    whole = SessionRepository(tmp_path / "whole")
    whole._create(user, base)
    expected = {name for name in repo.at(whole.folder).fingerprint() if not name.endswith("alternates")}
    step = 0
    while True:
        step += 1
        session = SessionRepository(tmp_path / str(step))
        killed = died_at(step, functools.partial(session._create, user, base))
        session._create(user, base)
        found = {name for name in repo.at(session.folder).fingerprint() if not name.endswith(("alternates", ".new"))}
        assert expected <= found
        for path in (session.path, session.agents_path):
            assert repo.at(path).git("cat-file", "-t", base) == "commit"
        if not killed:
            break
    assert step > 20


async def test_all_shapes_of_a_users_repository(repo: Any, tmp_path: Path, make_world: Any) -> None:
    repo.commit("second", more="x")
    repo.git("clone", "-q", "--bare", repo.path, tmp_path / "bare.git")
    repo.git("clone", "-q", "--shared", repo.path, tmp_path / "borrows")
    repo.git("clone", "-q", "--depth=1", f"file://{repo.path}", tmp_path / "shallow")
    repo.git("worktree", "add", "-q", tmp_path / "linked")
    for name in ("bare.git", "borrows", "shallow", "linked"):
        world = await make_world(tmp_path / f"of-{name}", repo.at(tmp_path / name)).open()
        tip = await world.work("t1.1", new="made\n")
        assert repo.at(world.session.agents_path).git("log", "--format=%s", "-1", tip) == "t1.1"


@pytest.mark.parametrize("name", ODD_NAMES)
async def test_odd_paths_of_repository_and_worktree(
    tmp_path: Path, make_repo: Callable[..., Any], make_world: Any, name: str
) -> None:
    repo = make_repo(tmp_path / name / "user")
    repo.commit("begin", **{name: "odd\n"})
    world = await make_world(tmp_path / name / "more", repo).open()
    tree = await world.add("t1.1")
    assert tree.git("status", "--porcelain") == ""
    assert (tree.path / name).read_text() == "odd\n"
    tree.write(f"new {name}")
    oid = await world.session.commit_leftovers("t1.1", tree.path, "left")
    assert await world.session.changed_paths(world.base, oid) == [f"new {name}"]
    assert await world.session.head("t1.1", tree.path, world.base) == oid
    merged = await world.integration.merge(world.base, oid, message="merge")
    assert merged.oid


async def test_sha256(tmp_path: Path, make_repo: Callable[..., Any], make_world: Any) -> None:
    repo = make_repo(tmp_path / "user", "--object-format=sha256")
    repo.commit("begin", a="a\n")
    world = await make_world(tmp_path, repo).open()
    tree = await world.add("t1.1")
    tree.write("b")
    oid = await world.session.commit_leftovers("t1.1", tree.path, "left")
    assert len(oid) == 64
    assert (await world.integration.merge(world.base, oid, message="m")).oid


# Worktrees -----------------------------------------------------------------------------------------------------------


@pytest.mark.req("W2")
async def test_a_worktree_is_what_git_would_have_made(world: Any) -> None:
    tree = await world.add("t1.1")
    assert tree.git("status", "--porcelain=2", "--branch").splitlines() == [
        f"# branch.oid {world.base}",
        "# branch.head t1.1",
    ]
    assert "worktree" in tree.git("worktree", "list", "--porcelain")
    assert tree.git("worktree", "prune", "--dry-run", "-v", "--expire=now") == ""
    assert tree.git("rev-parse", "--show-toplevel") == str(tree.path)
    assert (tree.path / "run.sh").stat().st_mode & 0o100
    await world.session.validate_worktree("t1.1", tree.path)
    assert tree.git("config", "user.name")
    assert tree.git("remote") == ""


@pytest.mark.req("W2")
async def test_sixteen_at_once_again_and_again(world: Any) -> None:
    for attempt in range(3):
        trees = await asyncio.gather(*(world.add(f"t{n}.{attempt}") for n in range(16)))
        assert [tree.git("status", "--porcelain") for tree in trees] == [""] * 16
        names = [f"t{n}.{attempt}" for n in range(16)]
        await asyncio.gather(*(world.session.remove_worktree(name) for name in names))
    assert await world.session.list_worktrees() == {}
    assert list((world.root / "trees").iterdir()) == []
    world.repo.at(world.session.agents_path).git("fsck", "--strict")


@pytest.mark.req("W2")
async def test_places_that_must_not_become_a_worktree(world: Any, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "link").symlink_to(world.repo.path)
    import coordstore_orchestrator  # where it is installed

    installed = Path(coordstore_orchestrator.__file__).parent
    refused = {
        tmp_path / "taken": "something is there already",
        world.repo.path / "inside": "overlaps",
        world.repo.path / ".git" / "x": "overlaps",
        tmp_path / "link" / "x": "overlaps",
        world.session.folder / "own.git" / "x": "overlaps",
        installed / "x": "overlaps",
        Path("relative"): "not absolute",
    }
    for path, reason in refused.items():
        with pytest.raises(WorktreeRefused, match=reason):
            await world.session.add_worktree("t1.1", world.base, path)
    assert await world.session.list_worktrees() == {}


@pytest.mark.parametrize(
    "name", ["", "..", "a/b", "-x", "A", "a..b", "a.lock", "x" * 65, "a b", "ä", "a\n", ".x", "x."]
)
async def test_names_that_cannot_be_a_branch(world: Any, name: str) -> None:
    with pytest.raises(InvalidArgument, match="cannot name agent in git"):
        await world.session.add_worktree(name, world.base, world.root / "trees" / "x")


async def test_a_checkout_that_fails_leaves_no_folder(world: Any) -> None:
    with pytest.raises(GitError):
        await world.session.add_worktree("t1.1", "1" * 40, world.root / "trees" / "t1.1")
    assert not (world.root / "trees" / "t1.1").exists()
    assert await world.session.list_worktrees() == {}


async def test_a_cancelled_checkout_leaves_no_folder(world: Any) -> None:
    for turns in range(8):
        task = asyncio.ensure_future(world.add("t1.1"))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await world.session.remove_worktree("t1.1")
        assert not (world.root / "trees" / "t1.1").exists()


@pytest.mark.req("G4")
def test_killed_at_any_step_of_adding_and_cleaned_up(repo: Any, tmp_path: Path) -> None:
    user = asyncio.run(UserRepository.discover(repo.path))
    base = repo.git("rev-parse", "HEAD")
    session = SessionRepository(tmp_path / "session")
    session._create(user, base)
    trees = Worktrees(session.agents_path, session.path)
    path = tmp_path / "trees" / "t1.1"
    step, killed = 0, True
    while killed:
        step += 1
        killed = died_at(step, lambda: trees.add("t1.1", base, path, []))
        assert asyncio.run(session.prune()) in (["t1.1"], [])
        assert not path.exists(), f"killed at step {step}"
        assert trees.names() == []
        trees.add("t1.1", base, path, [])
        trees.validate_fresh("t1.1", path)
        trees.forget("t1.1")
    assert step > 15


@pytest.mark.req("W2")
async def test_what_is_no_worktree_of_that_agent(world: Any, tmp_path: Path) -> None:
    one, two = await world.add("t1.1"), await world.add("t2.1")
    check = world.session.validate_worktree
    with pytest.raises(WorktreeRefused, match="another repository or worktree"):
        await check("t1.1", two.path)
    with pytest.raises(WorktreeRefused, match=r"another repository or worktree|no \.git file"):
        await check("t1.1", world.repo.path)
    with pytest.raises(WorktreeRefused, match="no folder"):
        await check("t1.1", tmp_path / "gone")
    (tmp_path / "link").symlink_to(one.path)
    with pytest.raises(WorktreeRefused, match="symbolic link"):
        await check("t1.1", tmp_path / "link")
    one.git("checkout", "-q", "--detach")
    with pytest.raises(WorktreeRefused, match="stands on no branch"):
        await check("t1.1", one.path)
    two.path.rename(tmp_path / "moved")
    with pytest.raises(WorktreeRefused, match="does not list it at that place"):
        await check("t2.1", tmp_path / "moved")


# Leftovers and results -----------------------------------------------------------------------------------------------


@pytest.mark.req("M9")
async def test_everything_left_is_committed_but_what_is_ignored(world: Any) -> None:
    tree = await world.add("t1.1")
    tree.write(".gitignore", "*.log\n")
    for name in ("new.txt", "x.log", "deep/er/file", os.fsdecode(b"latin-\xe9"), "two\nlines", "junk/cache.pyc"):
        tree.write(name)
    tree.write("src/a.py", "changed\n")
    (tree.path / "src/b.py").unlink()
    (tree.path / "README.md").unlink()
    tree.write("README.md/is-a-folder-now")
    (tree.path / "link").symlink_to("new.txt")
    (tree.path / "new.txt").chmod(0o755)
    tree.git("add", "deep")
    oid = await world.session.commit_leftovers("t1.1", tree.path, "left\n\nbody", ["*.pyc"])
    assert tree.git("status", "--porcelain") == "?? junk/"
    assert tree.git("log", "-1", "--format=%H %P %B") == f"{oid} {world.base} left\n\nbody"
    listed = tree.git("ls-tree", "-r", "-z", "HEAD").split("\0")
    kinds = {entry.partition("\t")[2]: entry.split(" ")[0] for entry in listed if entry}
    assert kinds == {
        ".gitignore": "100644",
        "README.md/is-a-folder-now": "100644",
        "deep/er/file": "100644",
        os.fsdecode(b"latin-\xe9"): "100644",
        "link": "120000",
        "new.txt": "100755",
        "run.sh": "100755",
        "src/a.py": "100644",
        "two\nlines": "100644",
    }
    assert await world.session.commit_leftovers("t1.1", tree.path, "again", ["*.pyc"]) is None
    assert await world.session.branch("t1.1") == oid
    tree.git("fsck", "--strict")


async def test_a_change_in_the_same_instant_is_seen(world: Any) -> None:
    """A file changed without its size or times changing is found, as git finds it: by the age of the index."""
    tree = await world.add("t1.1")
    file, long_ago = tree.path / "src/a.py", (1_600_000_000, 1_600_000_000)
    os.utime(file, long_ago)
    tree.git("update-index", "--refresh")
    file.write_text(file.read_text().replace("one", "ONE"))
    os.utime(file, long_ago)
    with (world.session.path / "config").open("a") as config:  # the one time that a test cannot set
        config.write("[core]\n\ttrustctime = false\n")
    index = Path(tree.git("rev-parse", "--path-format=absolute", "--git-path", "index"))
    os.utime(index, long_ago)
    assert await world.session.commit_leftovers("t1.1", tree.path, "left") is not None


async def test_locks_and_a_lost_index_of_a_killed_agent_do_not_matter(world: Any) -> None:
    tree = await world.add("t1.1")
    admin = Path(tree.git("rev-parse", "--absolute-git-dir"))
    for name in ("index.lock", "HEAD.lock"):
        (admin / name).write_text("")
    (world.session.agents_path / "refs/heads/t1.1.lock").write_text("")
    (admin / "index").unlink()
    tree.write("new.txt")
    oid = await world.session.commit_leftovers("t1.1", tree.path, "left")
    assert await world.session.changed_paths(world.base, oid) == ["new.txt"]
    assert tree.git("status", "--porcelain") == ""
    (admin / "index").write_bytes(b"garbage")
    tree.write("more.txt")
    assert await world.session.commit_leftovers("t1.1", tree.path, "left") is not None


async def test_an_agents_split_index_is_followed(world: Any) -> None:
    tree = await world.add("t1.1")
    tree.git("update-index", "--split-index")
    tree.write("new.txt")
    oid = await world.session.commit_leftovers("t1.1", tree.path, "left")
    assert await world.session.changed_paths(world.base, oid) == ["new.txt"]


@pytest.mark.parametrize("how", [("checkout", "-q", "--detach"), ("checkout", "-q", "-b", "elsewhere")])
async def test_work_on_another_branch_or_none_is_found(world: Any, how: tuple[str, ...]) -> None:
    tree = await world.add("t1.1")
    tree.git(*how)
    committed = tree.commit("work", new="x\n")
    assert await world.session.head("t1.1", tree.path, world.base) == committed
    assert await world.session.branch("t1.1") == committed
    tree.write("left")
    left = await world.session.commit_leftovers("t1.1", tree.path, "left")
    assert await world.session.head("t1.1", tree.path, world.base) == left
    assert await world.session.branch("t1.1") == left
    assert tree.git("rev-parse", f"{left}^") == committed


async def test_history_that_was_rewritten_is_refused(world: Any) -> None:
    tree = await world.add("t1.1")
    tree.git("checkout", "-q", "--orphan", "fresh")
    with pytest.raises(WorktreeRefused, match="without a commit"):
        await world.session.head("t1.1", tree.path, world.base)
    with pytest.raises(WorktreeRefused, match="without a commit"):
        await world.session.commit_leftovers("t1.1", tree.path, "left")
    tree.commit("new root")
    with pytest.raises(WorktreeRefused, match="does not descend from its base"):
        await world.session.head("t1.1", tree.path, world.base)


async def test_ancestry_is_asked_of_git_where_the_agent_packed_its_commits(world: Any) -> None:
    tree = await world.add("t1.1")
    tip = [tree.commit(f"{n}", **{f"f{n}": "x"}) for n in range(3)][-1]
    tree.git("repack", "-aq")
    tree.git("prune-packed")
    assert await world.session.head("t1.1", tree.path, world.base) == tip


async def test_a_nested_repository_is_named(world: Any) -> None:
    tree = await world.add("t1.1")
    tree.git("init", "-q", "vendor")
    tree.at(tree.path / "vendor").commit("inner", x="x")
    with pytest.raises(WorktreeRefused, match="a git repository of its own inside the worktree, at 'vendor/'"):
        await world.session.commit_leftovers("t1.1", tree.path, "left")


async def test_a_half_done_merge_is_committed_as_it_stands(world: Any) -> None:
    tree = await world.add("t1.1")
    tree.git("checkout", "-q", "-b", "side")
    tree.commit("side", **{"src/a.py": "side\n"})
    tree.git("checkout", "-q", "t1.1")
    tree.commit("mine", **{"src/a.py": "mine\n"})
    tree.git("merge", "-q", "side", check=False)
    oid = await world.session.commit_leftovers("t1.1", tree.path, "left")
    assert "<<<<<<<" in tree.git("show", f"{oid}:src/a.py")


async def test_a_worktree_that_its_agent_took_apart(world: Any) -> None:
    tree = await world.add("t1.1")
    (tree.path / ".git").unlink()
    tree.git("init", "-q")
    with pytest.raises(WorktreeRefused, match=r"another repository or worktree|no \.git file"):
        await world.session.commit_leftovers("t1.1", tree.path, "left")


@pytest.mark.req("G4")
async def test_gc_in_a_worktree_takes_nothing_away(world: Any) -> None:
    trees = [await world.add(f"t{n}.1") for n in range(4)]

    async def collect() -> list[str]:
        for _ in range(5):
            git = await asyncio.create_subprocess_exec("git", "gc", "-q", "--prune=now", cwd=trees[0].path)
            assert await git.wait() == 0
        return []

    async def work(n: int) -> list[str]:
        found = []
        for k in range(5):
            trees[n].write(f"f{n}-{k}", f"{n} {k}\n")
            found.append(await world.session.commit_leftovers(f"t{n}.1", trees[n].path, "left"))
        return found

    commits = await asyncio.gather(collect(), *(work(n) for n in range(1, 4)))
    for oid in (oid for found in commits for oid in found):
        assert trees[0].git("cat-file", "-t", oid) == "commit"
    trees[0].git("fsck", "--strict")


# Removing ------------------------------------------------------------------------------------------------------------


@pytest.mark.req("M9")
async def test_removing_keeps_the_branch(world: Any) -> None:
    tip = await world.work("t1.1", new="x")
    path = world.root / "trees" / "t1.1"
    await world.session.remove_worktree("t1.1", path)
    assert not path.exists()
    assert await world.session.branch("t1.1") == tip
    await world.session.remove_worktree("t1.1", path)  # once more is fine


@pytest.mark.req("G4")
async def test_only_the_folder_that_was_made_is_removed(world: Any, tmp_path: Path) -> None:
    tree = await world.add("t1.1")
    with pytest.raises(WorktreeRefused, match=r"is not the worktree of t1\.1"):
        await world.session.remove_worktree("t1.1", tmp_path / "precious")
    tree.path.rename(tmp_path / "aside")
    (tree.path / "precious").mkdir(parents=True)
    with pytest.raises(WorktreeRefused, match="not the folder that was made"):
        await world.session.remove_worktree("t1.1")
    assert (tree.path / "precious").exists()
    assert (world.root / "trees").exists()
    (tree.path / "precious").rmdir()
    tree.path.rmdir()
    tree.path.symlink_to(tmp_path / "aside")
    with pytest.raises(WorktreeRefused):
        await world.session.prune()
    assert (tmp_path / "aside" / "README.md").exists()


async def test_removing_what_was_made_read_only(world: Any) -> None:
    tree = await world.add("t1.1")
    for name in ("cache/a/b", "cache/c"):
        tree.write(name)
    for path in ("cache/a", "cache"):
        (tree.path / path).chmod(0o500)
    await world.session.remove_worktree("t1.1")
    assert not tree.path.exists()


async def test_prune_keeps_who_still_works(world: Any) -> None:
    for n in range(3):
        await world.add(f"t{n}.1")
    assert await world.session.prune(keep={"t1.1"}) == ["t0.1", "t2.1"]
    assert list(await world.session.list_worktrees()) == ["t1.1"]
    await world.session.validate_worktree("t1.1", world.root / "trees" / "t1.1")


async def test_a_repository_that_was_not_opened_says_so(tmp_path: Path) -> None:
    session = SessionRepository(tmp_path / "x")
    with pytest.raises(GitError, match=r"is not open: call create\(\) first"):
        await session.restore()


@pytest.mark.req("G4", "M12")
async def test_what_a_dying_git_moves_while_a_worktree_is_removed_is_no_error(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await world.add("t1.1")
    unlink, moved = os.unlink, []

    def late(path: Any, *, dir_fd: int | None = None) -> None:
        unlink(path, dir_fd=dir_fd)
        if path == "index":
            moved.append(path)
            raise FileNotFoundError(path)

    monkeypatch.setattr(os, "unlink", late)
    await world.session.remove_worktree("t1.1")
    assert moved
    assert not [path for path in world.session.path.rglob("*") if "t1.1" in path.parts]


@pytest.mark.req("M12")
async def test_a_worktree_without_any_index_can_be_asked_again(world: Any) -> None:
    tree = await world.add("t1.1")
    (tree.path / "new").write_text("x")
    record = world.session.path / "worktrees/t1.1"
    (record / "index").unlink(missing_ok=True)
    env = {"GIT_DIR": str(record), "GIT_WORK_TREE": str(tree.path), "GIT_INDEX_FILE": str(record / "index")}
    work = leftovers.Work(world.session.path, world.session.agents_path / "objects", env, tree.path)
    found = await leftovers._with_new_index(work, ["ls-files", "--others"])
    assert found.stdout == b"new\n"
