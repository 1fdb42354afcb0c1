"""The repository that all hosts reach: commits out and in, and one leader at a time that may land there."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.git.errors import LandRefused
from coordstore_orchestrator.git.remote import Remote, RemoteLacks, RemoteUnreachable, default_url, url_of
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.merge.remote import RemoteLanding

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WHO = ("-c", "user.name=T", "-c", "user.email=t@example.invalid")


def git(where: Path, *args: str) -> str:
    done = subprocess.run(["git", *WHO, *args], cwd=where, capture_output=True, text=True, check=True)
    return done.stdout.strip()


class Ground:
    """A repository with two commits, the shared one, and one of another host."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.work, self.shared, self.other = (folder / name for name in ("work", "shared.git", "other.git"))
        for where, kind in ((self.work, ()), (self.shared, ("--bare",)), (self.other, ("--bare",))):
            git(folder, "init", "-q", "-b", "main", *kind, str(where))
        self.base = self.commit("base")
        self.tip = self.commit("tip")

    def commit(self, text: str) -> str:
        git(self.work, "commit", "-q", "--allow-empty", "-m", text)
        return git(self.work, "rev-parse", "HEAD")

    @property
    def here(self) -> Path:
        return self.work / ".git"

    def remote(self) -> Remote:
        return Remote(str(self.shared), "s", pauses=())

    def landing(self, token: int) -> RemoteLanding:
        return RemoteLanding(self.remote(), "s", self.here, self.base, token)

    def refs(self) -> dict[str, str]:
        rows = git(self.shared, "for-each-ref", "--format=%(refname) %(objectname)").splitlines()
        return dict(row.split(" ") for row in rows)


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


@pytest.mark.req("W9")
async def test_a_commit_goes_from_host_to_host(ground: Ground) -> None:
    remote = ground.remote()
    await remote.publish(ground.here, ground.base)
    await remote.fetch_base(ground.other, ground.base)
    await remote.push_branch(ground.here, "t.1", ground.tip)
    await remote.fetch_branch(ground.other, "t.1", ground.tip)
    assert ground.refs() == {f"refs/coord/s/base/{ground.base}": ground.base, "refs/coord/s/t.1": ground.tip}
    assert git(ground.other, "log", "-1", "--format=%s", ground.tip) == "tip"


@pytest.mark.req("W9", "S9")
async def test_what_the_store_records_counts_and_not_what_the_ref_holds(ground: Ground) -> None:
    remote = ground.remote()
    await remote.push_branch(ground.here, "t.1", ground.base)  # a zombie's
    with pytest.raises(RemoteLacks, match="somebody moved"):
        await remote.fetch_branch(ground.other, "t.1", ground.tip)


@pytest.mark.req("W9")
async def test_more_work_comes_along_in_one_fetch(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[Mapping[str, str]] = []
    fetch = Remote._fetch

    async def counted(self: Remote, into: Path, refs: Mapping[str, str]) -> None:
        fetched.append(refs)
        await fetch(self, into, refs)

    monkeypatch.setattr(Remote, "_fetch", counted)
    remote = ground.remote()
    await remote.push_branch(ground.here, "t.1", ground.base)
    await remote.push_branch(ground.here, "u.1", ground.tip)
    await remote.fetch_branch(ground.other, "t.1", ground.base, {"u.1": ground.tip})
    await remote.fetch_branch(ground.other, "u.1", ground.tip)
    assert len(fetched) == 1


async def test_work_that_is_not_there_keeps_no_other_from_coming(ground: Ground) -> None:
    remote = ground.remote()
    await remote.push_branch(ground.here, "t.1", ground.tip)
    await remote.fetch_branch(ground.other, "t.1", ground.tip, {"gone.1": "1" * 40})
    assert git(ground.other, "log", "-1", "--format=%s", ground.tip) == "tip"
    with pytest.raises(RemoteLacks, match="couldn't find remote ref"):
        await remote.fetch_branch(ground.other, "gone.1", "1" * 40, {"t.1": ground.tip})


async def test_what_is_not_there_is_said_with_its_place(ground: Ground) -> None:
    with pytest.raises(RemoteUnreachable, match=r"shared\.git"):
        await ground.remote().fetch_base(ground.other, ground.base)
    gone = Remote(str(ground.folder / "nowhere"), "s", pauses=(0.0,))
    with pytest.raises(RemoteUnreachable, match="nowhere"):
        await gone.publish(ground.here, ground.base)


@pytest.mark.req("S9", "M12")
async def test_a_former_leader_lands_nothing_though_nothing_else_has_moved(ground: Ground) -> None:
    first, second = ground.landing(5), ground.landing(9)
    await first.take()
    await second.take()
    before = ground.refs()
    with pytest.raises(LandRefused, match="taken over"):
        await first.land(ground.tip)
    with pytest.raises(LandRefused, match="its token is 9, ours 5"):
        await first.take()
    assert ground.refs() == before
    assert await second.land(ground.tip) == "refs/heads/coord/s"
    assert ground.refs()["refs/heads/coord/s"] == ground.tip


@pytest.mark.req("S9", "M12")
async def test_a_leader_that_sleeps_between_its_look_and_its_push_lands_nothing(
    ground: Ground, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = ground.landing(5), ground.landing(9)
    await first.take()
    moving = first.remote.move

    async def later(*args: object) -> None:
        await second.take()
        await moving(*args)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(first.remote, "move", later)
    with pytest.raises(LandRefused, match="somebody else moved it"):
        await first.land(ground.tip)
    assert "refs/heads/coord/s" not in ground.refs()


async def test_landing_again_does_nothing_and_a_moved_result_is_left_alone(ground: Ground) -> None:
    landing = ground.landing(5)
    await landing.take()
    await landing.land(ground.tip)
    before = ground.refs()
    await landing.land(ground.tip)
    assert ground.refs() == before
    git(ground.work, "checkout", "-q", ground.base)
    theirs = ground.commit("of somebody else")
    git(ground.work, "push", "-q", "-f", str(ground.shared), f"{theirs}:refs/heads/coord/s")
    with pytest.raises(LandRefused, match="not part of the result"):
        await landing.land(ground.tip)
    assert ground.refs()["refs/heads/coord/s"] == theirs


async def test_tidying_leaves_the_result_and_the_work_that_was_not_merged(ground: Ground) -> None:
    landing, remote = ground.landing(5), ground.remote()
    await landing.take()
    await remote.publish(ground.here, ground.base)
    for agent in ("t.1", "u.1"):
        await remote.push_branch(ground.here, agent, ground.tip)
    await landing.land(ground.tip)
    await landing.tidy(["t.1"])
    assert sorted(ground.refs()) == ["refs/coord/s/u.1", "refs/heads/coord/s"]


@pytest.mark.parametrize("text", ["", "--upload-pack=x", "ext::sh -c x", "a\nb"])
def test_what_could_run_a_program_is_no_remote(text: str) -> None:
    with pytest.raises(InvalidArgument, match="no git remote"):
        url_of(text)


@pytest.mark.parametrize("text", ["ssh://h/p", "https://h/p.git", "git@h:p.git", "host:p"])
def test_urls_stay_as_they_are(text: str) -> None:
    assert url_of(text) == text


async def test_the_default_is_origin_and_without_one_the_repository_itself(ground: Ground) -> None:
    user = await UserRepository.discover(ground.work)
    assert await default_url(user) == str(ground.here)
    git(ground.work, "remote", "add", "origin", "ssh://there/x")
    git(ground.work, "remote", "add", "near", "../shared.git")
    assert await default_url(user) == "ssh://there/x"
    assert (await default_url(user, "near")).endswith("/../shared.git")
    assert await default_url(user, "/some/where") == "/some/where"
