"""Merging without a checkout gives what `git merge` gives in one."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.git.errors import GitError
from coordstore_orchestrator.merge.attributes import info_attributes
from coordstore_orchestrator.merge.integrate import Conflict, parse_conflicts
from coordstore_orchestrator.merge.scratch import Scratch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.req("G1")
async def test_work_that_does_not_meet_is_merged_commit_by_commit(world: Any) -> None:
    tip = world.base
    for n in range(3):
        oid = await world.work(f"t{n}.1", **{f"new{n}": f"{n}\n"})
        result = await world.integration.merge(tip, oid, message=f"Merge t{n}.1: task {n}", base=world.base)
        assert result.conflicts == ()
        assert result.fast is (n == 0)
        assert world.repo.at(world.integration.path).git("show", "-s", "--format=%P|%s|%cn", result.oid) == (
            f"{tip} {oid}|Merge t{n}.1: task {n}|{world.user.identity.name}"
        )
        tip = result.oid
    names = world.repo.at(world.integration.path).git("ls-tree", "--name-only", tip).split()
    assert names == ["README.md", "new0", "new1", "new2", "run.sh", "src"]
    world.repo.at(world.integration.path).git("fsck", "--strict")


@pytest.mark.req("G1")
async def test_conflicts_are_told_by_file_and_nothing_moves(world: Any) -> None:
    ours = await world.work("t1.1", **{"src/a.py": "ONE\ntwo\nthree\n", "src/b.py": "mine\n", "both": "1\n"})
    tree = await world.add("t2.1")
    (tree.path / "src/b.py").unlink()
    tree.commit("t2.1", **{"src/a.py": "1\ntwo\nthree\n", "both": "2\n", "free": "x\n"})
    theirs = await world.session.head("t2.1", tree.path, world.base)
    tip = (await world.integration.merge(world.base, ours, message="m")).oid
    result = await world.integration.merge(tip, theirs, message="m")
    assert result.oid is None
    found = {conflict.path: conflict for conflict in result.conflicts}
    assert {path: conflict.kind for path, conflict in found.items()} == {
        "both": "contents",
        "src/a.py": "contents",
        "src/b.py": "modify/delete",
    }
    assert "ONE" in found["src/a.py"].hunks[0]
    assert "three" not in found["src/a.py"].hunks[0]
    assert found["src/b.py"].message.startswith("CONFLICT (modify/delete): src/b.py deleted in")
    free = await world.work("t3.1", other="x\n")
    assert (await world.integration.merge(tip, free, message="others go on")).oid


async def test_conflicts_in_odd_names(world: Any) -> None:
    name = "two\nlines ü"
    one, two = [await world.work(f"t{n}.1", **{name: f"{n}\n"}) for n in range(2)]
    tip = (await world.integration.merge(world.base, one, message="m")).oid
    result = await world.integration.merge(tip, two, message="m")
    assert [(c.path, c.kind, len(c.hunks)) for c in result.conflicts] == [(name, "contents", 1)]


def test_what_git_lists_without_a_message_is_not_lost() -> None:
    assert parse_conflicts("100644 abc 1\tx\0" + "100644 abd 2\tx\0\0") == [Conflict("x", "contents")]
    assert parse_conflicts("\0") == []


async def test_a_missing_commit_and_unrelated_histories_are_errors(world: Any) -> None:
    with pytest.raises(GitError, match="merge-tree"):
        await world.integration.merge(world.base, "1" * 40, message="m")
    world.repo.git("checkout", "-q", "--orphan", "other")
    with pytest.raises(GitError, match="unrelated histories"):
        await world.integration.merge(world.base, world.repo.commit("other"), message="m")


@pytest.mark.req("G1")
@pytest.mark.parametrize("seed", range(12))
async def test_the_same_tree_or_the_same_conflicts_as_git_merge(world: Any, seed: int) -> None:
    dice = random.Random(seed)
    oids = []
    for n in range(2):
        tree = await world.add(f"t{n}.1")
        for _ in range(dice.randint(1, 3)):
            path = tree.path / dice.choice(["src/a.py", "src/b.py", "README.md", "new", "src/c/d"])
            if dice.random() < 0.25 and path.exists():
                path.unlink()
            elif dice.random() < 0.2 and path.exists():
                path.rename(path.with_name(f"renamed{n}"))
            else:
                lines = [f"{dice.choice('abc')}\n" for _ in range(dice.randint(1, 4))]
                tree.write(str(path.relative_to(tree.path)), "".join(lines))
        tree.commit(f"t{n}.1")
        oids.append(await world.session.head(f"t{n}.1", tree.path, world.base))
    result = await world.integration.merge(*oids, message="m")
    tree = await world.add("reference.1", oids[0])
    merged = tree.git("merge", "-q", "--no-ff", "-m", "m", oids[1], check=False) is not None
    conflicted = set(tree.git("diff", "--name-only", "--diff-filter=U", "-z").split("\0")) - {""}
    if result.oid is None:
        assert conflicted
        assert {conflict.path for conflict in result.conflicts} >= conflicted
    else:
        assert merged
        assert not conflicted
        assert tree.git("rev-parse", "HEAD^{tree}") == tree.git("rev-parse", f"{result.oid}^{{tree}}")


# Attributes ----------------------------------------------------------------------------------------------------------


async def test_union_and_binary_of_the_base_are_honoured_and_drivers_are_not(
    tmp_path: Path, make_repo: Callable[..., Any], make_world: Any
) -> None:
    canary = tmp_path / "canary"
    repo = make_repo(tmp_path / "user")
    repo.write(
        ".gitattributes", "CHANGES merge=union\n*.dat binary\n*.drv merge=evil filter=evil\n[attr]log merge=union\n"
    )
    repo.write("deep/er/.gitattributes", "*.txt merge=union\n/only.md log\n")
    names = ["CHANGES", "deep/er/x.txt", "deep/er/most/y.txt", "deep/er/only.md", "a.dat", "b.drv", "plain"]
    repo.commit("begin", **dict.fromkeys(names, "start\n"))
    repo.git("config", "merge.evil.driver", f"touch {canary}; true")
    world = await make_world(tmp_path, repo).open()
    for path in (world.session.agents_path, world.session.path, world.integration.path):
        with (path / "config").open("a") as file:
            file.write(f'[merge "evil"]\n\tdriver = touch {canary}\n[filter "evil"]\n\tclean = touch {canary}\n')
    one, two = [await world.work(f"t{n}.1", **dict.fromkeys(names, f"start\n{n}\n")) for n in range(2)]
    result = await world.integration.merge(one, two, message="m")
    assert {conflict.path: conflict.kind for conflict in result.conflicts} == {
        "a.dat": "binary",
        "b.drv": "contents",
        "plain": "contents",
    }
    assert not canary.exists()


async def test_attributes_that_an_agent_wrote_do_not_count(world: Any) -> None:
    mine = {".gitattributes": "* merge=union\n"}
    one, two = [await world.work(f"t{n}.1", **mine, **{"src/a.py": f"{n}\n"}) for n in range(2)]
    (world.session.agents_path / "info/attributes").write_text("* merge=union\n")
    assert (await world.integration.merge(one, two, message="m")).oid is None


@pytest.mark.parametrize(
    ("folder", "line", "path", "expected"),
    [
        ("", "*.c merge=union", "x/y.c", "union"),
        ("a", "*.c merge=union", "a/b/y.c", "union"),
        ("a", "*.c merge=union", "b/y.c", "unspecified"),
        ("a", "/y.c merge=union", "a/y.c", "union"),
        ("a", "/y.c merge=union", "a/b/y.c", "unspecified"),
        ("a", "b/*.c merge=union", "a/b/y.c", "union"),
        ("a", "**/z merge=union", "a/b/c/z", "union"),
        ("a[1]", "y merge=union", "a[1]/y", "union"),
        ("a b", "y merge=union", "a b/y", "union"),
        ('a"b', '"y\\"\\tz" merge=union', 'a"b/y"\tz', "union"),
        ("ü", '"\\303\\244" merge=union', "ü/ä", "union"),
        ("", "y binary", "y", "unset"),
        ("", "y merge=custom", "y", "set"),
        ("", "* merge=union\ny !merge", "y", "unspecified"),
        ("", "# y merge=union\n\n   y\tmerge=union\r", "y", "union"),
        ("a", "[attr]m merge=union\ny m", "a/y", "unspecified"),
        ("", "[attr]m merge=union\ny m", "a/y", "union"),
        ("", "y filter=lfs diff=lfs text eol=crlf", "y", "unspecified"),
    ],
)
def test_patterns_mean_at_the_root_what_they_meant_in_their_folder(
    repo: Any, folder: str, line: str, path: str, expected: str
) -> None:
    found = info_attributes({folder: line.encode()})
    assert not any(word in found for word in (b"filter", b"diff", b"text", b"eol", b"custom"))
    (repo.path / ".git/info").mkdir(exist_ok=True)
    (repo.path / ".git/info/attributes").write_bytes(found)
    assert repo.git("check-attr", "-z", "merge", "--", path).split("\0")[2] == expected


def test_a_deeper_file_wins() -> None:
    files = {"a/b": b"y -merge", "": b"y merge=union", "a": b"y merge=text"}
    assert info_attributes(files).splitlines() == [b"y merge=union", b"/a/**/y merge=text", b"/a/b/**/y -merge"]


# Scratch -------------------------------------------------------------------------------------------------------------


@pytest.mark.req("G2")
async def test_scratch_checkouts_of_merges_are_gone_afterwards(world: Any, tmp_path: Path) -> None:
    oid = await world.work("t1.1", new="x\n")
    merged = (await world.integration.merge(world.base, oid, message="m")).oid
    async with (
        Scratch(world.session, tmp_path / "scratch") as scratch,
        scratch.checkout(merged) as folder,
        scratch.checkout(world.base) as other,
    ):
        assert (folder / "new").read_text() == "x\n"
        assert not (other / "new").exists()
        assert world.repo.at(folder).git("rev-parse", "HEAD") == merged
    assert list((tmp_path / "scratch").iterdir()) == []
    assert list(await world.session.list_worktrees()) == ["t1.1"]


@pytest.mark.req("G2")
@pytest.mark.parametrize("resists", [False, True])
async def test_a_scratch_checkout_that_is_used_again_is_as_new(world: Any, tmp_path: Path, resists: bool) -> None:
    oid = await world.work("t1.1", new="x\n", **{".gitignore": "*.o\n", "src/a.py": "changed\n"})
    async with Scratch(world.session, tmp_path / "scratch") as scratch:
        async with scratch.checkout(oid) as first:
            tree = world.repo.at(first)
            for name in ("left", "ignored.o", "folder/left", "nested/left"):
                tree.write(name)
            tree.git("init", "-q", "nested")
            tree.write("src/b.py", "spoilt\n")
            (first / "run.sh").unlink()
            tree.git("update-index", "--skip-worktree", "src/b.py")
            (first / "README.md").chmod(0o755)
            (first / ".git").with_name("empty").mkdir()
            if resists:
                (first / "folder").chmod(0o500)
        async with scratch.checkout(world.base) as again:
            assert resists or again == first
            assert world.repo.at(again).git("status", "--porcelain", "--ignored") == ""
            assert world.repo.at(again).git("rev-parse", "HEAD") == world.base
            found = {str(path.relative_to(again)) for path in again.rglob("*")}
            assert found == {".git", "README.md", "run.sh", "src", "src/a.py", "src/b.py"}
            assert (again / "src/a.py").read_text() == "one\ntwo\nthree\n"
            assert (again / "src/b.py").read_text() == "b\n"
            assert (again / "README.md").stat().st_mode & 0o100 == 0
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.req("G1")
async def test_dependent_work_starts_from_what_was_merged(world: Any) -> None:
    first = await world.work("t1.1", new="x\n")
    merged = (await world.integration.merge(world.base, first, message="m")).oid
    second = await world.work("t2.1", merged, more="y\n")
    assert await world.session.changed_paths(merged, second) == ["more"]
    await world.integration.keep("tip", merged)
    assert world.repo.at(world.integration.path).git("rev-parse", "tip") == merged
