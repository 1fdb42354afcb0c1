"""An agent plants everything that git can be made to run; every operation of ours is done; nothing of it ran.

That the traps are live is shown first: plain git in the same worktree springs them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from coordstore_orchestrator.merge.gate import inspect
from coordstore_orchestrator.merge.land import land, release_epoch, take_epoch
from coordstore_orchestrator.merge.scratch import Scratch

HOOKS = [
    *("applypatch-msg", "commit-msg", "fsmonitor-watchman", "post-applypatch", "post-checkout", "post-commit"),
    *(
        "post-index-change",
        "post-merge",
        "post-receive",
        "post-rewrite",
        "post-update",
        "pre-applypatch",
        "pre-auto-gc",
    ),
    *(
        "pre-commit",
        "pre-merge-commit",
        "pre-push",
        "pre-rebase",
        "pre-receive",
        "prepare-commit-msg",
        "push-to-checkout",
    ),
    *("proc-receive", "reference-transaction", "sendemail-validate", "update"),
]
ATTRIBUTES = "* filter=evil diff=evil merge=evil text ident working-tree-encoding=UTF-8\n*.md filter=process\n"


class Traps:
    """Everything that git can be made to run, each writing its name into one folder."""

    def __init__(self, root: Path) -> None:
        self.canary = root / "canary"
        self.canary.mkdir()
        self.hooks = root / "evil-hooks"
        self.hooks.mkdir()
        self.included = root / "evil-include"

    def sprung(self) -> list[str]:
        return sorted(path.name for path in self.canary.iterdir())

    def program(self, name: str) -> str:
        """Return a command that leaves a trace and behaves well enough for git to go on."""
        file = self.hooks / f"run-{name}"
        file.write_text(f"#!/bin/sh\n: > '{self.canary}/{name}'\ncat 2>/dev/null\nexit 0\n")
        file.chmod(0o755)
        return str(file)

    def config(self) -> str:
        run = self.program
        return (
            f"[core]\n\tfsmonitor = {run('fsmonitor')}\n\thooksPath = {self.hooks}\n\tpager = {run('pager')}\n"
            f"\teditor = {run('editor')}\n\tsshCommand = {run('ssh')}\n\taskPass = {run('askpass')}\n"
            f"\tattributesFile = {self.hooks}/attributes\n\tgitProxy = {run('proxy')}\n\tuntrackedCache = true\n"
            f'[filter "evil"]\n\tclean = {run("clean")}\n\tsmudge = {run("smudge")}\n'
            f'[filter "process"]\n\tprocess = {run("process")}\n'
            f'[merge "evil"]\n\tdriver = {run("merge")} %A\n[diff]\n\texternal = {run("diff")}\n'
            f'[diff "evil"]\n\ttextconv = {run("textconv")}\n\tcommand = {run("diffcommand")}\n'
            f"[gpg]\n\tprogram = {run('gpg')}\n[commit]\n\tgpgSign = true\n"
            f"[credential]\n\thelper = {run('credential')}\n"
            f"[alias]\n\tstatus = !{run('alias')}\n\tread-tree = !{run('alias')}\n\tmerge-tree = !{run('alias')}\n"
            f"[uploadpack]\n\tpackObjectsHook = {run('pack')}\n[gc]\n\tauto = 1\n[maintenance]\n\tauto = true\n"
            f"[interactive]\n\tdiffFilter = {run('interactive')}\n[sequence]\n\teditor = {run('sequence')}\n"
            f"[include]\n\tpath = {self.included}\n"
            f"[extensions]\n\tworktreeConfig = true\n"
        )

    def plant(self, common: Path, admin: Path, tree: Path) -> None:
        self.included.write_text(f"[core]\n\talternateRefsCommand = {self.program('alternates')}\n")
        for hook in HOOKS:
            Path(self.program(hook)).replace(self.hooks / hook)
        (self.hooks / "attributes").write_text(ATTRIBUTES)
        (common / "hooks").mkdir(exist_ok=True)
        for hook in HOOKS:
            (common / "hooks" / hook).symlink_to(self.hooks / hook)
        with (common / "config").open("a") as file:
            file.write(self.config())
        (admin / "config.worktree").write_text(self.config() + f"[core]\n\tworktree = {self.canary.parent / 'else'}\n")
        (common / "info").mkdir(exist_ok=True)
        (common / "info/attributes").write_text(ATTRIBUTES)
        (common / "info/grafts").write_text("")
        (tree / ".gitattributes").write_text(ATTRIBUTES)


def plant_nested(traps: Traps, tree: Any) -> None:
    """Add a repository inside the worktree, registered as a submodule, with traps of its own."""
    tree.git("init", "-q", "nested")
    nested = tree.at(tree.path / "nested")
    nested.commit("inner", inner="x\n")
    tree.git("add", "nested")
    tree.git("commit", "-q", "-m", "nested")
    (tree.path / "nested/inner").write_text("changed\n")
    traps.plant(tree.path / "nested/.git", tree.path / "nested/.git", tree.path / "nested")


@pytest.mark.security(4)
@pytest.mark.req("G1", "W2")
async def test_nothing_that_an_agent_planted_runs(world: Any, repo: Any, tmp_path: Path) -> None:
    traps = Traps(tmp_path)
    common = world.session.agents_path
    before = repo.fingerprint()
    evil, good = await world.add("evil.1"), await world.add("good.1")
    plant_nested(traps, evil)
    traps.plant(common, common / "worktrees/evil.1", evil.path)
    (evil.path / "src/a.py").write_text("evil\n")
    (good.path / "src/b.py").write_text("good\n")
    assert traps.sprung() == []

    session, integration = world.session, world.integration
    left = await session.commit_leftovers("evil.1", evil.path, "left")
    assert left is not None
    assert await session.head("evil.1", evil.path, world.base) == left
    tip = await session.commit_leftovers("good.1", good.path, "left")
    await session.validate_worktree("good.1", good.path)
    await world.add("late.1")
    await session.changed_paths(world.base, left)
    found = await inspect(session.path, world.base, left, lambda _path: True)
    assert {violation.rule for violation in found} == {"git", "submodule"}
    await integration.merge(tip, left, message="m")
    merged = (await integration.merge(world.base, tip, message="m")).oid
    async with Scratch(session, tmp_path / "scratch") as scratch:
        for commit in (merged, tip, merged):  # made anew, then turned into another commit and back
            async with scratch.checkout(commit):
                pass
    epoch = await take_epoch(world.user, "s1", world.base)
    await land(world.user, integration.path, "s1", merged, epoch)
    await release_epoch(world.user, "s1", epoch)
    await world.open()
    await session.prune()
    assert traps.sprung() == []
    after = repo.fingerprint()
    assert {name: after.get(name) for name in before} == before


@pytest.mark.security(4)
@pytest.mark.req("G1")
async def test_traps_set_again_before_each_operation(world: Any, tmp_path: Path) -> None:
    """Restoring the configuration is not what protects us: with it set again in between, nothing runs either."""
    traps = Traps(tmp_path)
    common, session = world.session.agents_path, world.session
    tree = await world.add("t1.1")
    config = traps.config()
    session._restore = list  # an agent that is faster than we are
    (tree.path / "src/a.py").write_text("work\n")
    traps.plant(common, common / "worktrees/t1.1", tree.path)
    (tree.path / ".gitattributes").unlink()
    oid = await session.commit_leftovers("t1.1", tree.path, "left")
    assert await session.changed_paths(world.base, oid) == ["src/a.py"]
    await world.add("t2.1")
    assert await inspect(session.path, world.base, oid, lambda _path: True) == []
    assert (await world.integration.merge(world.base, oid, message="m")).oid
    assert config in (common / "config").read_text()
    assert traps.sprung() == []


@pytest.mark.security(4)
async def test_the_traps_are_live(world: Any, tmp_path: Path) -> None:
    traps = Traps(tmp_path)
    common = world.session.agents_path
    tree = await world.add("t1.1")
    traps.plant(common, common / "worktrees/t1.1", tree.path)
    (common / "worktrees/t1.1/config.worktree").write_text("[core]\n\tbare = false\n")
    tree.write("src/a.py", "changed\n")
    tree.write("README.md", "changed\n")
    tree.git("add", "-A", check=False)
    tree.git("diff", "HEAD", check=False)
    tree.git("commit", "-q", "-m", "x", check=False)
    tree.git("checkout", "-q", "-b", "other", check=False)
    sprung = set(traps.sprung())
    assert sprung >= {"fsmonitor", "clean", "process", "diffcommand", "pre-commit", "gpg", "post-index-change"}, sprung


@pytest.mark.security(4)
@pytest.mark.req("G4")
async def test_what_was_planted_is_removed_before_the_next_agent_starts(world: Any, tmp_path: Path) -> None:
    traps = Traps(tmp_path)
    common = world.session.agents_path
    tree = await world.add("t1.1")
    ours = (common / "config").read_bytes()
    traps.plant(common, common / "worktrees/t1.1", tree.path)
    assert sorted(await world.session.restore()) == [
        "config",
        "hooks",
        "info/attributes",
        "info/grafts",
        "worktrees/t1.1/config.worktree",
    ]
    assert (common / "config").read_bytes() == ours
    assert await world.session.restore() == []
    other = await world.add("t2.1")
    other.commit("work", new="x\n")
    assert traps.sprung() == []
