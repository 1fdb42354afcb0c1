"""Landing: one new ref, nothing else; never for a leader that was replaced, never over somebody's work."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.git.errors import GitError, LandRefused
from coordstore_orchestrator.git.objects import write_loose
from coordstore_orchestrator.merge import land as land_module
from coordstore_orchestrator.merge.land import epoch_ref, land, release_epoch, result_ref, take_epoch

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def merged(world: Any, agent: str = "t1.1", onto: str | None = None, **files: str) -> str:
    oid = await world.work(agent, **(files or {"new": "x\n"}))
    return str((await world.integration.merge(onto or world.base, oid, message=f"Merge {agent}: x")).oid)


async def landed(world: Any, new: str, **options: Any) -> str:
    epoch = await take_epoch(world.user, "s1", world.base)
    return await land(world.user, world.integration.path, "s1", new, epoch, **options)


def new_files(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in after if not name.startswith(".git/objects/")} - set(before)


@pytest.mark.req("G1")
async def test_the_user_finds_one_new_ref_and_nothing_else_changed(world: Any, repo: Any) -> None:
    repo.write("README.md", "uncommitted\n")
    repo.write("untracked")
    repo.git("config", "gc.auto", "1")
    before = repo.fingerprint()
    tip = await merged(world)
    epoch = await take_epoch(world.user, "s1", world.base, 7)
    assert await land(world.user, world.integration.path, "s1", tip, epoch) == "refs/heads/coord/s1"
    assert await release_epoch(world.user, "s1", epoch)
    after = repo.fingerprint()
    assert new_files(before, after) == {".git/refs/heads/coord/s1", ".git/logs/refs/heads/coord/s1"}
    assert {name: after.get(name) for name in before} == before
    assert repo.git("for-each-ref", "--format=%(refname)").split() == ["refs/heads/coord/s1", "refs/heads/main"]
    assert repo.git("rev-parse", "coord/s1") == tip
    repo.git("fsck", "--strict", "--connectivity-only")
    repo.git("merge", "-q", "coord/s1")
    assert (repo.path / "new").exists()


@pytest.mark.req("G1")
async def test_what_lands_is_as_readable_as_the_rest(world: Any, repo: Any) -> None:
    await landed(world, await merged(world))
    for path in (repo.path / ".git/objects/pack").iterdir():
        assert path.stat().st_mode & 0o044 == 0o044, path


async def test_what_landed_needs_nothing_of_ours(world: Any, repo: Any, tmp_path: Path) -> None:
    await landed(world, await merged(world))
    world.session.folder.rename(tmp_path / "gone")
    world.integration.path.rename(tmp_path / "gone too")
    repo.git("fsck", "--strict")
    repo.git("checkout", "-q", "coord/s1")


async def test_landing_more_and_the_same_again(world: Any, repo: Any) -> None:
    first = await merged(world)
    epoch = await take_epoch(world.user, "s1", world.base)
    for _ in range(2):  # a crash came between landing and its record
        await land(world.user, world.integration.path, "s1", first, epoch)
    second = await merged(world, "t2.1", first, more="y\n")
    await land(world.user, world.integration.path, "s1", second, epoch, old=first)
    assert repo.git("rev-parse", "coord/s1") == second


@pytest.mark.req("M12")
async def test_a_leader_that_was_replaced_cannot_land(world: Any, repo: Any) -> None:
    tip = await merged(world)
    old = await take_epoch(world.user, "s1", world.base, 1)
    new = await take_epoch(world.user, "s1", world.base, 2)
    with pytest.raises(LandRefused, match="taken over by another orchestrator") as caught:
        await land(world.user, world.integration.path, "s1", tip, old)
    assert (caught.value.ref, caught.value.found) == (epoch_ref("s1"), new)
    with pytest.raises(LandRefused, match="its epoch has token 2, ours is 1"):
        await take_epoch(world.user, "s1", world.base, 1)
    assert not await release_epoch(world.user, "s1", old)
    assert "coord/s1" not in repo.git("branch", "--list", "-a")
    await land(world.user, world.integration.path, "s1", tip, new)
    assert await release_epoch(world.user, "s1", new)
    with pytest.raises(LandRefused, match="taken over"):
        await land(world.user, world.integration.path, "s1", tip, old)


@pytest.mark.req("M12")
async def test_a_leader_replaced_between_its_look_and_its_transaction(
    world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check is in the transaction: a takeover after everything was sent still stops it."""
    tip = await merged(world)
    old = await take_epoch(world.user, "s1", world.base, 1)
    send = land_module.send

    async def send_and_be_replaced(*args: Any) -> None:
        await send(*args)
        await take_epoch(world.user, "s1", world.base, 2)

    monkeypatch.setattr(land_module, "send", send_and_be_replaced)
    with pytest.raises(LandRefused, match="taken over"):
        await land(world.user, world.integration.path, "s1", tip, old)
    assert world.repo.git("branch", "--list", "coord/*") == ""


@pytest.mark.req("M12")
async def test_of_many_that_take_over_one_can_land(world: Any) -> None:
    tip = await merged(world)
    results = await asyncio.gather(
        *(take_epoch(world.user, "s1", world.base, 3) for _ in range(8)), return_exceptions=True
    )
    epochs = [found for found in results if isinstance(found, str)]
    assert all(isinstance(found, (str, LandRefused, GitError)) for found in results)
    outcomes = []
    for epoch in epochs:
        try:
            outcomes.append(await land(world.user, world.integration.path, "s1", tip, epoch))
        except LandRefused:
            outcomes.append("refused")
    assert outcomes.count("refs/heads/coord/s1") == 1


@pytest.mark.req("G1")
async def test_what_somebody_added_to_the_result_is_not_lost(world: Any, repo: Any) -> None:
    tip = await merged(world)
    await landed(world, tip)
    repo.git("checkout", "-q", "coord/s1")
    theirs = repo.commit("mine on top", mine="x")
    repo.git("checkout", "-q", "main")
    more = await merged(world, "t2.1", tip, more="y\n")
    with pytest.raises(LandRefused, match=r"coord/s1 is at .* was moved by somebody else") as caught:
        await landed(world, more)
    assert caught.value.found == theirs
    with pytest.raises(LandRefused):
        await landed(world, more, old=tip)
    assert repo.git("rev-parse", "coord/s1") == theirs


@pytest.mark.parametrize("where", ["main", "linked"])
async def test_a_result_that_is_checked_out_is_not_moved(world: Any, repo: Any, tmp_path: Path, where: str) -> None:
    tip = await merged(world)
    await landed(world, tip)
    if where == "main":
        repo.git("checkout", "-q", "coord/s1")
    else:
        repo.git("worktree", "add", "-q", tmp_path / "a\nlinked", "coord/s1")
    with pytest.raises(LandRefused, match="coord/s1 is checked out"):
        await landed(world, await merged(world, "t2.1", tip, more="y\n"))
    assert repo.git("rev-parse", "coord/s1") == tip


async def test_a_branch_in_the_way_is_told_at_the_start(world: Any, repo: Any) -> None:
    repo.git("branch", "coord")
    with pytest.raises(LandRefused, match=r"a branch named 'coord' is in the way.*git branch -m coord"):
        await take_epoch(world.user, "s1", world.base)


async def test_a_stale_lock_is_named_and_stays(world: Any, repo: Any) -> None:
    tip = await merged(world)
    epoch = await take_epoch(world.user, "s1", world.base)
    lock = repo.write(".git/refs/heads/coord/s1.lock", "")
    with pytest.raises(GitError, match=r"s1\.lock.*remove that lock file by hand"):
        await land(world.user, world.integration.path, "s1", tip, epoch)
    assert lock.exists()


async def test_refs_that_the_user_packed(world: Any, repo: Any) -> None:
    tip = await merged(world)
    epoch = await take_epoch(world.user, "s1", world.base)
    await land(world.user, world.integration.path, "s1", tip, epoch)
    repo.git("pack-refs", "--all")
    more = await merged(world, "t2.1", tip, more="y\n")
    await land(world.user, world.integration.path, "s1", more, epoch)
    assert await release_epoch(world.user, "s1", epoch)
    assert repo.git("rev-parse", "coord/s1") == more


@pytest.mark.req("G1")
async def test_the_base_survives_the_users_gc_while_agents_work(world: Any, repo: Any) -> None:
    epoch = await take_epoch(world.user, "s1", world.base)
    repo.git("checkout", "-q", "--orphan", "other")
    repo.commit("other")
    repo.git("branch", "-D", "main")
    repo.git("reflog", "expire", "--expire=now", "--all")
    repo.git("gc", "-q", "--prune=now")
    tip = await merged(world)
    await land(world.user, world.integration.path, "s1", tip, epoch)
    repo.git("fsck", "--strict", "--connectivity-only")


@pytest.mark.req("G1")
@pytest.mark.parametrize("kind", ["wrong content", "missing"])
async def test_forged_and_missing_objects_do_not_get_in(world: Any, repo: Any, kind: str) -> None:
    tip = await merged(world, new="good\n")
    agents = world.session.agents_path / "objects"
    oid = world.repo.at(world.integration.path).git("rev-parse", f"{tip}:new")
    path = agents / oid[:2] / oid[2:]
    path.unlink()
    if kind == "wrong content":
        path.write_bytes(zlib.compress(b"blob 5\0evil\n"))
    before = repo.fingerprint()
    with pytest.raises(GitError):
        await landed(world, tip)
    after = repo.fingerprint()
    assert not {name for name in new_files(before, after) if "coord/epoch" not in name}
    assert repo.git("branch", "--list", "coord/*") == ""


def forged_tree(world: Any) -> str:
    """Write what git refuses to: a folder named .git."""
    objects = world.session.agents_path / "objects"
    blob = write_loose(objects, "blob", b"[core]\n\tfsmonitor = touch canary\n", "sha1")
    inner = write_loose(objects, "tree", b"100644 config\0" + bytes.fromhex(blob), "sha1")
    tree = write_loose(objects, "tree", b"40000 .git\0" + bytes.fromhex(inner), "sha1")
    text = f"tree {tree}\nparent {world.base}\nauthor a <b> 1 +0000\ncommitter a <b> 1 +0000\n\nevil\n"
    return write_loose(objects, "commit", text.encode(), "sha1")


async def test_a_tree_that_no_git_would_write_is_refused(world: Any, repo: Any) -> None:
    commit = await asyncio.to_thread(forged_tree, world)
    with pytest.raises(GitError, match=r"index-pack.*\.git|hasDotgit"):
        await landed(world, commit)
    assert repo.git("branch", "--list", "coord/*") == ""


@pytest.mark.req("G1")
@pytest.mark.parametrize("shape", ["bare", "linked", "shallow", "sha256", "borrows", "odd path"])
async def test_every_shape_of_repository(
    repo: Any, tmp_path: Path, make_repo: Callable[..., Any], make_world: Any, shape: str
) -> None:
    repo.commit("second", more="x")
    path = tmp_path / "shapes" / ("a b\n\"c'ü" if shape == "odd path" else "x")
    if shape == "sha256":
        make_repo(path, "--object-format=sha256").commit("begin", a="a\n")
    elif shape == "linked":
        repo.git("worktree", "add", "-q", path)
    else:
        options = {"bare": ["--bare"], "borrows": ["--shared"], "shallow": ["--depth=1"]}.get(shape, [])
        repo.git("clone", "-q", *options, f"file://{repo.path}" if shape == "shallow" else repo.path, path)
    user = repo.at(path)
    world = await make_world(tmp_path / "w", user).open()
    before = user.fingerprint()
    await landed(world, await merged(world))
    kept = {name: user.fingerprint().get(name) for name in before}
    assert kept == before
    assert user.git("show", "coord/s1:new") == "x"
    user.git("fsck", "--strict")


async def test_a_configuration_full_of_traps_of_the_users_own(
    world: Any, repo: Any, tmp_path: Path, clean_environment: Path
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "pre-commit", "post-update", "update", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/canary\nexit 1\n")
        (hooks / name).chmod(0o755)
    (clean_environment / ".gitconfig").write_text(
        f"[core]\n\thooksPath = {hooks}\n\tfsmonitor = touch {tmp_path}/canary\n[commit]\n\tgpgsign = true\n"
        f"[init]\n\ttemplateDir = {hooks}\n\tdefaultRefFormat = reftable\n\tdefaultObjectFormat = sha256\n"
        f"[gpg]\n\tprogram = touch {tmp_path}/canary\n[gc]\n\tauto = 1\n[transfer]\n\tfsckObjects = true\n"
    )
    repo.git("config", "core.hooksPath", hooks)
    await world.open()
    await landed(world, await merged(world))
    assert repo.git("rev-parse", "coord/s1")
    assert not (tmp_path / "canary").exists()


@pytest.mark.req("G1")
@pytest.mark.parametrize("turns", range(0, 40, 5))
async def test_cancelled_at_any_time_the_ref_moved_or_not(world: Any, repo: Any, turns: int) -> None:
    tip = await merged(world)
    epoch = await take_epoch(world.user, "s1", world.base)
    task = asyncio.ensure_future(land(world.user, world.integration.path, "s1", tip, epoch))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    assert repo.git("branch", "--list", "--format=%(objectname)", "coord/s1") in ("", tip)
    await land(world.user, world.integration.path, "s1", tip, epoch)
    repo.git("fsck", "--strict")


@pytest.mark.parametrize("name", ["", "../x", "a b", "--force", "x.lock", "a\0b", "a\nb"])
def test_names_of_sessions(name: str) -> None:
    for make in (result_ref, epoch_ref):
        with pytest.raises(InvalidArgument):
            make(name)
