"""What an agent may not change is found and named, and what it may is let through."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.git.errors import GitError
from coordstore_orchestrator.merge import rules
from coordstore_orchestrator.merge.gate import Limits, inspect

if TYPE_CHECKING:
    from collections.abc import Callable

CONFLICT = "a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> other\n"


def anything(_path: str) -> bool:
    return True


async def verdict(world: Any, change: Callable[[Any], object], limits: Limits | None = None) -> list[tuple[str, str]]:
    """Let an agent make a change; return the paths and rules of what is refused."""
    tree = await world.add("t1.1")
    change(tree)
    tree.git("add", "-A")
    tree.git("commit", "-q", "--allow-empty", "-m", "work")
    tip = await world.session.head("t1.1", tree.path, world.base)
    loose = await inspect(world.session.path, world.base, tip, anything, limits)
    tree.git("repack", "-aq")
    tree.git("prune-packed")
    packed = await inspect(world.session.path, world.base, tip, anything, limits)
    assert packed == loose  # however the objects are stored
    assert all(violation.sentence.isprintable() for violation in loose)
    return [(violation.path, violation.rule) for violation in loose]


def link(target: str) -> Callable[[Any], object]:
    return lambda tree: (tree.path / "src/link").symlink_to(target)


@pytest.mark.security(6)
@pytest.mark.req("W6", "P2")
async def test_paths_outside_the_scope(world: Any) -> None:
    tree = await world.add("t1.1")
    (tree.path / "src/b.py").unlink()
    tree.commit("work", **{"src/a.py": "x\n", "docs/new": "x\n", os.fsdecode(b"src/\xff"): "x\n"})
    tip = await world.session.head("t1.1", tree.path, world.base)
    found = await inspect(world.session.path, world.base, tip, lambda path: path == "src/a.py")
    assert [(violation.path, violation.rule) for violation in found] == [
        ("docs/new", "scope"),
        ("src/b.py", "scope"),
        (os.fsdecode(b"src/\xff"), "scope"),
    ]
    assert found[0].sentence == "'docs/new' is outside the task's write scope"
    assert "\\\\xff" in found[2].sentence


@pytest.mark.req("W6")
async def test_ordinary_work_passes(world: Any) -> None:
    def change(tree: Any) -> None:
        tree.write("src/a.py", "x\n")
        tree.write("src/tool", "#!/bin/sh\n").chmod(0o755)
        tree.write(".gitignore", "*.o\n")
        tree.write(".github/workflows/ci.yml")
        tree.write("docs/.gitkeep", "")
        tree.write("umlaut-ü and space")
        (tree.path / "README.md").unlink()
        (tree.path / "src/link").symlink_to("../run.sh")
        (tree.path / "src/here").symlink_to("./a.py")

    assert await verdict(world, change) == []


async def test_no_change_at_all(world: Any) -> None:
    assert await verdict(world, lambda _tree: None) == []


@pytest.mark.security(6)
@pytest.mark.parametrize(
    "name",
    [
        ".gitattributes",
        "src/.gitattributes",
        ".gitmodules",
        "src/.GitModules",
        ".gitmodules ",
        ".gitattributes.",
    ],
)
async def test_files_that_steer_git(world: Any, name: str) -> None:
    assert (name, "git") in await verdict(world, lambda tree: tree.write(name, "# nothing\n"))


@pytest.mark.parametrize("segment", [".git", ".GIT", ".git\u200c", ".git ", ".git::$INDEX_ALLOCATION", "GIT~1"])
def test_spellings_of_gits_folder(segment: str) -> None:
    change = rules.Change(f"a/{segment}/config", rules.ABSENT, "100644", "0", "1")
    assert [v.rule for v in rules.of_path(change, anything, Limits())] == ["git"]


@pytest.mark.parametrize("name", ["a\tb", "a\nb", "\x1b[31m", "x\x7f", "c\x85d"])
async def test_control_characters_in_new_names(world: Any, name: str) -> None:
    assert await verdict(world, lambda tree: tree.write(name)) == [(name, "name")]


@pytest.mark.parametrize("path", ["a/../b", "./a", "a//b", "..", "a/."])
def test_names_that_are_no_names(path: str) -> None:
    change = rules.Change(path, rules.ABSENT, "100644", "0", "1")
    assert "name" in [v.rule for v in rules.of_path(change, anything, Limits())]


@pytest.mark.security(6)
@pytest.mark.parametrize(
    "target",
    ["/etc/passwd", "../../out", "../..", "a/../../../x", "x/../y", "../.git/hooks", "../.GIT/config", "./.././../x"],
)
async def test_links_that_lead_out(world: Any, target: str) -> None:
    assert await verdict(world, link(target)) == [("src/link", "symlink")]


@pytest.mark.parametrize("target", ["a.py", "../README.md", "..", ".", "new/not/there"])
async def test_links_that_stay_inside(world: Any, target: str) -> None:
    assert await verdict(world, link(target)) == []


@pytest.mark.security(6)
async def test_modes_and_kinds_of_existing_files(world: Any) -> None:
    def change(tree: Any) -> None:
        (tree.path / "src/a.py").chmod(0o755)
        (tree.path / "README.md").unlink()
        (tree.path / "README.md").symlink_to("src/a.py")

    assert await verdict(world, change) == [("README.md", "mode"), ("src/a.py", "mode")]


async def test_modes_can_be_allowed(world: Any) -> None:
    assert await verdict(world, lambda t: (t.path / "src/a.py").chmod(0o755), Limits(mode_changes=True)) == []


@pytest.mark.security(6)
async def test_submodules(world: Any) -> None:
    def change(tree: Any) -> None:
        tree.git("init", "-q", "vendor")
        tree.at(tree.path / "vendor").commit("inner", x="x")

    assert await verdict(world, change) == [("vendor", "submodule")]


@pytest.mark.security(6)
async def test_large_files(world: Any) -> None:
    def change(tree: Any) -> None:
        tree.write("at-limit", b"x" * 1000)
        tree.write("over", b"x" * 1001)

    assert await verdict(world, change, Limits(file_bytes=1000)) == [("over", "size")]


@pytest.mark.security(6)
async def test_conflict_markers(world: Any) -> None:
    def change(tree: Any) -> None:
        tree.write("src/a.py", CONFLICT)
        tree.write("dos", CONFLICT.replace("\n", "\r\n"))
        tree.write("binary", b"\0" + CONFLICT.encode())
        tree.write("title", "Heading\n=======\n")
        tree.write("quoted", CONFLICT.replace("\n", "\n> "))

    assert await verdict(world, change) == [("dos", "conflict"), ("src/a.py", "conflict")]


async def test_a_text_about_conflicts_may_be_edited(world: Any) -> None:
    world.repo.commit("docs", **{"docs.md": CONFLICT})
    await world.open()
    assert await verdict(world, lambda tree: tree.write("docs.md", CONFLICT + "more\n")) == []


async def test_names_that_are_one_where_case_does_not_count(world: Any) -> None:
    def change(tree: Any) -> None:
        tree.write("readme.md")
        tree.write("SRC/new")
        tree.write("cafe\u0301")
        tree.write("caf\u00e9")
        tree.write("src/other")

    assert await verdict(world, change) == [
        ("caf\u00e9", "case"),
        ("readme.md", "case"),
        ("src", "case"),
    ]


async def test_many_refusals_are_cut(world: Any) -> None:
    tree = await world.add("t1.1")
    tree.commit("work", **{f"f{n}": "x" for n in range(30)})
    tip = await world.session.head("t1.1", tree.path, world.base)
    found = await inspect(world.session.path, world.base, tip, lambda _: False, Limits(violations=7))
    assert len(found) == 7


async def test_a_commit_that_is_not_there(world: Any) -> None:
    with pytest.raises(GitError):
        await inspect(world.session.path, world.base, "1" * 40, anything)
