"""Changes as pull and merge requests: opened, decided on, merged or closed; a forge out of order harms nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import InvalidArgument
from coordstore_orchestrator.review import rest
from coordstore_orchestrator.review.rest import Api, ForgeError
from tests.review.server import TOKEN, Hub, Lab, serving
from tests.run.conftest import Place

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.timeout(300), pytest.mark.req("G3")]
ENVIRONMENT = {
    "github": ("GITHUB_TOKEN", "GITHUB_API_URL"),
    "gitlab": ("GITLAB_TOKEN", "GITLAB_API_URL"),
}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """Give a repository whose `origin` is a bare one."""
    found = Place(tmp_path)
    found.git("clone", "-q", "--bare", str(found.repository), str(tmp_path / "origin.git"))
    found.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    return found


@pytest.fixture
def hub() -> Iterator[tuple[Hub, str]]:
    scripted = Hub()
    for address in serving(scripted):
        yield scripted, address


@pytest.fixture
def lab() -> Iterator[tuple[Lab, str]]:
    scripted = Lab()
    for address in serving(scripted):
        yield scripted, address


@pytest.fixture
def run(place: Place) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Give what starts a run with a forge; it is ended with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(forge: str, address: str, plan: Path) -> subprocess.Popen[str]:
        token, url = ENVIRONMENT[forge]
        env = {token: TOKEN, url: address, "COORD_FORGE_REPOSITORY": "me/thing", "COORD_FORGE_PAUSE": "0.2"}
        started.append(place.start("run", plan, "--session", "s", "--forge", forge, **env))
        return started[-1]

    yield start
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=60)


def wait_for(what: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.05)  # another process is waited for, and has nothing to wait on


def opened(scripted: Hub | Lab, *agents: str) -> bool:
    with scripted.lock:
        branches = [scripted.branch(number) for number in scripted.requests]
    return all(any(branch == f"coord/s/{agent}" for branch in branches) for agent in agents)


AGAIN = "grep -q 'more cheerful' $COORD_PROMPT_FILE && echo cheerful > y.txt || echo plain > y.txt"


def test_github(place: Place, hub: tuple[Hub, str], run: Callable[..., subprocess.Popen[str]]) -> None:
    github, address = hub
    process = run("github", address, place.plan({"x": {}, "y": {"sh": AGAIN}, "z": {}}))
    wait_for(lambda: opened(github, "x.1", "y.1", "z.1"))
    assert github.requests[github.number_of("x.1")]["base"] == "main"
    github.review("y.1", "CHANGES_REQUESTED", "make it more cheerful")
    github.review("x.1", "CHANGES_REQUESTED", "hm")
    github.review("x.1", "COMMENTED", "let me see")
    github.review("x.1", "APPROVED", "fine after all")
    with github.lock:
        github.requests[github.number_of("z.1")]["state"] = "closed"
    wait_for(lambda: opened(github, "y.2"))
    github.review("y.2", "APPROVED")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, (out, err)
    assert place.show("y.txt") == "cheerful\n"
    pulls = {github.branch(number).rpartition("/")[2]: pull for number, pull in github.requests.items()}
    assert {pull["state"] for pull in pulls.values()} == {"closed"}
    assert {agent for agent, pull in pulls.items() if pull["merged_at"]} == {"x.1", "y.2"}
    assert "make it more cheerful" in github.requests[github.number_of("y.1")]["comments"][0]
    pushed = place.git("ls-remote", "origin", "refs/heads/coord/s/x.1").split()[0]
    assert place.git("rev-parse", f"{pushed}^{{tree}}")
    shown = place.coord("changes", "list", "s").out
    assert "https://hub.example/me/thing/pull/1" in shown
    kept = [path for path in place.folder.glob("state/**/*") if path.is_file()]
    assert [path for path in kept if TOKEN.encode() in path.read_bytes()] == []


def test_gitlab(place: Place, lab: tuple[Lab, str], run: Callable[..., subprocess.Popen[str]]) -> None:
    gitlab, address = lab
    process = run("gitlab", address, place.plan({"x": {}, "y": {"sh": AGAIN}, "z": {}}))
    wait_for(lambda: opened(gitlab, "x.1", "y.1", "z.1"))
    gitlab.want_changes("y.1", "make it more cheerful")
    gitlab.approve("x.1")
    with gitlab.lock:
        gitlab.requests[gitlab.number_of("z.1")]["state"] = "closed"
    wait_for(lambda: opened(gitlab, "y.2"))
    gitlab.approve("y.2")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 3, (out, err)
    assert place.show("y.txt") == "cheerful\n"
    states = {gitlab.branch(n).rpartition("/")[2]: r["state"] for n, r in gitlab.requests.items()}
    assert states == {"x.1": "merged", "y.1": "closed", "y.2": "merged", "z.1": "closed"}


def test_a_forge_that_is_out_of_order_is_told_of_and_people_decide_by_the_record(
    place: Place, hub: tuple[Hub, str], run: Callable[..., subprocess.Popen[str]]
) -> None:
    github, address = hub
    github.broken = 1_000_000
    process = run("github", address, place.plan({"x": {}}))
    wait_for(lambda: "cannot be shown on github" in place.coord("events", "s").out)
    assert place.coord("changes", "approve", "s", "x.1").code == 0
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, (out, err)
    assert place.show("x.txt") == "x\n"


def test_without_a_token_it_says_which(place: Place) -> None:
    done = place.run(place.plan({"x": {}}), "--forge", "github")
    assert (done.code, "GITHUB_TOKEN or GH_TOKEN" in done.err) == (2, True), done


async def test_a_wrong_token_is_an_error_that_does_not_repeat_it(hub: tuple[Hub, str]) -> None:
    api = Api(hub[1], {"Authorization": "Bearer wrong-token-0815"})
    with pytest.raises(ForgeError, match="401") as caught:
        await api("GET", "/repos/me/thing/pulls?head=x")
    assert caught.value.status == 401
    assert "wrong-token" not in f"{caught.value}{api!r}"


async def test_a_token_goes_over_tls_or_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for address in ("http://forge.example", "ftp://x", "file:///etc/passwd", "http://127.0.0.1.evil.example"):
        with pytest.raises(InvalidArgument, match="https"):
            Api(address, {})
    monkeypatch.setattr(rest, "SECONDS", 5.0)
    with pytest.raises(ForgeError):
        await Api("http://127.0.0.1:1", {})("GET", "/x")


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("git@github.com:me/thing.git", "me/thing"),
        ("https://github.com/me/thing", "me/thing"),
        ("https://user:secret@gitlab.example:8443/group/sub/thing.git", "group/sub/thing"),
        ("ssh://git@host:22/me/thing.git/", "me/thing"),
    ],
)
def test_the_repository_is_what_origin_names(url: str, path: str) -> None:
    match = rest._ADDRESS.fullmatch(url)
    assert match is not None
    assert match[3] == path
