"""A session in which everything has happened that can, and ways to call `coord`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from coordstore import open_store
from coordstore.cli.main import main
from coordstore.session import State, events
from coordstore.session.session import Session, as_value

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from coordstore import CoordStore

HOST = "workshop.example.net"
BASE = "0123456789abcdef0123456789abcdef01234567"
PROGRAM = [sys.executable, "-c", "from coordstore.cli.main import main; raise SystemExit(main())"]
TASKS: dict[str, dict[str, Any]] = {
    "api": {"name": "Write the API", "needs": []},
    "docs": {"name": "文書を書く, all of it, with every example that anybody could ask for", "needs": []},
    "tests": {"name": "Tests", "needs": []},
    "glue": {"name": "Glue\x1b]0;owned\x07 it", "needs": ["docs"]},
    "scope": {"name": "Breaks its scope", "needs": []},
    "late": {"name": "late", "needs": []},
    "gone": {"name": "Lost its worker", "needs": []},
    "next": {"name": "Waits for a worker", "needs": []},
}


class Result(NamedTuple):
    """How a call of `coord` ended."""

    code: int
    out: str
    err: str


class Story:
    """Fills a store with one session, step by step, at fixed times."""

    def __init__(self, store: CoordStore, name: str = "shop") -> None:
        self.store = store
        self.session = Session(store, name)
        self.keys = self.session.keys

    async def begin(self, tasks: dict[str, dict[str, Any]] | None = None) -> None:
        meta = {"goal": "Open a shop\x07 with a \x1b[31mred\x1b[0m door", "digest": "d", "base": BASE}
        await self.session.create(meta, TASKS if tasks is None else tasks)
        lease = await self.store.grant(600)
        leader = {"host": HOST, "pid": 99, "since": "2030-01-31T12:00:00Z"}
        await self.store.create(self.keys.leader, as_value(leader), lease)

    async def start(self, task: str, pid: int, step: int, host: str = HOST) -> Any:
        agent = await self.assign(task)
        lease = await self.store.grant(600)
        claim = await self.session.claim(agent, (), {"host": host, "pid": pid}, lease)
        where = {"pid": pid, "step": step, "branch": f"refs/heads/{agent}", "worktree": f"/nowhere/worktrees/{agent}"}
        await claim.report(events.Step(step=step, text="looked around"), **where)
        await self.at(agent, "started", "12:01:00")
        return claim

    async def assign(self, task: str) -> str:
        await self.session.assign((await self.session.view()).tasks[task], BASE)
        latest = (await self.session.view()).tasks[task].latest
        assert latest
        return latest.agent

    async def finish(self, claim: Any, new: State, reason: str | None = None) -> None:
        await claim.finish(new, {"reason": reason} if reason else {"commit": BASE})
        await self.at(claim.agent, "ended", "12:03:05")

    async def at(self, agent: str, name: str, clock: str) -> None:
        await self.store.put(self.keys.agent(agent, name), f"2030-01-31T{clock}Z".encode())

    async def merged(self, task: str, **how: Any) -> None:
        await self.store.put(self.keys.merged(task), as_value(how))

    async def end(self, final: str, *landed: str) -> None:
        result = {"final": final, "landed": landed, "ref": f"refs/heads/coord/{self.session.name}", "commit": BASE}
        await self.store.put(self.keys.result, as_value(result))
        await self.store.delete(self.keys.leader)

    async def tell(self) -> None:
        """Do everything."""
        await self.begin()
        await self.finish(await self.start("api", 4101, 12), State.COMPLETED)
        await self.merged("api", merged=True, commit=BASE)
        await self.start("docs", 4102, 7)
        first = await self.start("tests", 4103, 3)
        await self.finish(first, State.FAILED, "exit status 1")
        again = await self.start("tests", 4203, 9)
        await self.finish(again, State.FAILED, "check failed: \x1b[2Jmake test: 3 of 40 failed\nsee the output " * 6)
        await self.finish(await self.start("scope", 4105, 2), State.COMPLETED)
        await self.merged("scope", refused="changed files outside of its scope: secrets.txt")
        view = await self.session.view()
        await self.session.cancel_unstarted(view.tasks["late"], "needs scope, which was not merged")
        lost = await self.start("gone", 4107, 1, "far-away-host-with-a-long-name.example.net")
        attempt = (await self.session.view()).attempt(lost.agent)
        assert attempt
        await self.session.drop_claim(attempt)
        await self.assign("next")


@pytest.fixture
def story() -> Callable[..., None]:
    """Return a function that fills the store of a URL by a coroutine of `Story`, everything by default."""

    def fill(url: str, *, name: str = "shop", by: Callable[[Story], Any] = Story.tell) -> None:
        async def run() -> None:
            async with open_store(url) as store:
                await by(Story(store, name))

        asyncio.run(run())

    return fill


@pytest.fixture
def storyteller() -> type[Story]:
    """Return `Story`, for tests that tell it step by step."""
    return Story


@pytest.fixture
def coord(capfd: pytest.CaptureFixture[str]) -> Callable[..., Result]:
    """Return a function that runs `coord` in this process."""

    def run(*args: str) -> Result:
        capfd.readouterr()
        code = main(args)
        return Result(code, *capfd.readouterr())

    return run


@pytest.fixture
def coord_process() -> Callable[..., Result]:
    """Return a function that runs `coord` as a process."""

    def run(*args: str, **options: Any) -> Result:
        done = subprocess.run([*PROGRAM, *args], capture_output=True, check=False, timeout=30, **options)
        return Result(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Return a repository with one commit."""
    folder = tmp_path / "my project"
    git(folder.parent, "init", "-q", "-b", "main", str(folder))
    git(folder, "commit", "-q", "--allow-empty", "-m", "begin")
    return folder


def git(folder: Path, *args: str) -> str:
    """Run git and return what it printed."""
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.net"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *args], check=True, capture_output=True)
    return done.stdout.decode().strip()
