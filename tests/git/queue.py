"""A session with completed attempts, merged and validated by the real merge code; git makes the agents' commits."""

from __future__ import annotations

import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from coordstore.model import Check
from coordstore.session import State
from coordstore.session.session import Session
from coordstore.testing import MemoryStore
from coordstore_orchestrator.merge.final import FinalValidation
from coordstore_orchestrator.merge.merger import Exchange, Merger
from coordstore_orchestrator.merge.scratch import Scratch
from coordstore_orchestrator.merge.validate import Validator
from coordstore_orchestrator.monitor.decide import Integrate
from coordstore_orchestrator.monitor.leadership import Leadership
from coordstore_orchestrator.worker.process import Guardian

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
    from pathlib import Path

    from coordstore.session import SessionView


class Queue:
    """One session in a store in memory, on a world's repositories."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.session = Session(MemoryStore(), "s1")
        self.leadership: Any = None
        self.lease: Any = None

    @asynccontextmanager
    async def open(self, tasks: Mapping[str, Mapping[str, Any]], **meta: Any) -> AsyncIterator[Queue]:
        await self.session.create({"digest": "d", **meta}, {task: {"writes": ["**"], **tasks[task]} for task in tasks})
        async with await self.session.store.grant(30) as lease:
            token = await self.session.store.create(self.session.keys.leader, b"{}", lease)
            self.lease = lease
            self.leadership = Leadership(Check(self.session.keys.leader, create_revision=token), lease)
            yield self
        await self.session.store.aclose()

    async def assign(self, task: str, base: str | None = None) -> str:
        view = await self.session.view()
        await self.session.assign(view.tasks[task], base or view.tip or self.world.base)
        latest = (await self.session.view()).tasks[task].latest
        assert latest is not None
        return latest.agent

    async def complete(self, task: str, commit: str, base: str | None = None) -> str:
        """Give a task an attempt that completes with a commit."""
        agent = await self.assign(task, base or self.world.base)
        claim = await self.session.claim(agent, (), {"host": "h", "pid": 1}, self.lease)
        await claim.finish(State.COMPLETED, {"code": "completed", "commit": commit})
        return agent

    def merger(self, hand_back: int = 0, exchange: Exchange | None = None) -> Merger:
        return Merger(self.session, self.leadership, self.world.integration, self.world.base, hand_back, exchange)

    async def merge(self, *agents: str) -> SessionView:
        merger = self.merger()
        for agent in agents:
            await merger.integrate(await self.session.view(), Integrate(agent.partition(".")[0], agent))
        return await self.session.view()

    @asynccontextmanager
    async def validator(
        self, folder: Path, commands: Sequence[str], environ: Mapping[str, str], width: int
    ) -> AsyncIterator[Validator]:
        async with Guardian() as guardian, Scratch(self.world.session, folder / "validate") as scratch:
            yield Validator(scratch, folder / "logs", guardian, commands, environ, width)

    async def land(self, validator: Validator, width: int = 1) -> SessionView:
        final = FinalValidation(
            self.session, self.leadership, self.world.integration, self.world.base, validator.run, width
        )
        return await final.run(await self.session.view())


def import_branches(repository: Path, base: str, branches: Mapping[str, Mapping[str, str | None]]) -> dict[str, str]:
    """Make one commit a branch on the base, in one git process; a file without text is deleted. Return their ids."""
    stream = "".join(_branch(name, base, files) for name, files in branches.items())
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repository, input=stream.encode(), check=True)
    asked = [f"refs/heads/{name}" for name in branches]
    done = subprocess.run(["git", "rev-parse", *asked], cwd=repository, check=True, capture_output=True, text=True)
    return dict(zip(branches, done.stdout.split(), strict=True))


def _branch(name: str, base: str | None, files: Mapping[str, str | None]) -> str:
    return "".join(_lines(name, base, files))


def _lines(name: str, base: str | None, files: Mapping[str, str | None]) -> Iterator[str]:
    yield f"commit refs/heads/{name}\ncommitter U <u@x> 1700000000 +0000\ndata {len(name)}\n{name}\n"
    if base:
        yield f"from {base}\n"
    for path in [path for path, text in files.items() if text is None]:
        yield f"D {path}\n"  # first: a folder may take a file's place
    for path, text in files.items():
        if text is not None:
            yield f"M 100644 inline {path}\ndata {len(text.encode())}\n{text}\n"


def import_files(repository: Path, files: Mapping[str, str]) -> None:
    """Make the first commit of a repository's main branch, in one git process."""
    stream = _branch("main", None, files)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repository, input=stream.encode(), check=True)
    subprocess.run(["git", "reset", "--hard", "--quiet"], cwd=repository, check=True)
