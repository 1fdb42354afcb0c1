"""Merges a prepared session and lands it, killed (-9) just before its n-th step: ``python -m … FOLDER N``; 0: never.

A step is a change of a file, a process that is started, or a transaction; the last line says how many there were.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coordstore.home import session_dir
from coordstore.plugins import open_store
from coordstore.session import State
from coordstore.session.session import Session
from coordstore_orchestrator.git.session import SessionRepository
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.options import RunOptions
from coordstore_orchestrator.run import Run
from tests.git.queue import import_branches

if TYPE_CHECKING:
    from coordstore.model import Committed, Transaction

WORK = {
    "t0": {"a.txt": "zero\n"},
    "t1": {"a.txt": "one\n"},
    "bad": {"bad": "x\n"},
    "t3": {"three.txt": "3\n"},
    "t4": {"dir/four.txt": "4\n"},
}
TASKS: dict[str, dict[str, Any]] = {task: {"writes": ["**"], "prompt": task} for task in WORK}
STEPS = {"os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "subprocess.Popen", "os.posix_spawn"}


class Steps:
    """Counts what this process does to the world and kills it in time."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.seen = 0
        self.process = os.getpid()

    def step(self) -> None:
        self.seen += 1
        if self.seen == self.last:
            os.kill(self.process, signal.SIGKILL)

    def watch(self, event: str, args: tuple[object, ...]) -> None:
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if (writes or event in STEPS) and os.getpid() == self.process:
            self.step()


def places(folder: Path) -> tuple[Path, Path, str]:
    return folder / "user", folder / "home", f"sqlite:{folder / 'store.db'}"


async def prepare(folder: Path) -> None:
    """Make a session in which every attempt has completed and nothing is merged."""
    repo, home, url = places(folder)
    user = await UserRepository.discover(repo)
    base = await user.resolve()
    repository = SessionRepository(session_dir(home, "s1"))
    await repository.create(user, base)
    work = {f"{task}.1": files for task, files in WORK.items()}
    commits = await asyncio.to_thread(import_branches, repository.agents_path, base, work)
    async with open_store(url) as store, await store.grant(30) as lease:
        session = Session(store, "s1")
        await session.create(meta(base), TASKS)
        for agent, commit in commits.items():
            await session.assign((await session.view()).tasks[agent.partition(".")[0]], base)
            claim = await session.claim(agent, (), {"host": "h", "pid": 1}, lease)
            await claim.finish(State.COMPLETED, {"code": "completed", "commit": commit})


def meta(base: str) -> dict[str, Any]:
    return {"schema": 1, "goal": "g", "base": base, "digest": "d", "validate": ["test ! -e bad"]}


async def finish(folder: Path, steps: Steps) -> None:
    """Do what `coord run` does when all agents are done."""
    repo, home, url = places(folder)
    user = await UserRepository.discover(repo)
    options = RunOptions(home=home, slots=2, agent=None, profiles={}, environ=os.environ)
    async with open_store(url) as store:
        whole = store.do_transact  # type: ignore[attr-defined]  # what every write of a backend passes

        async def transact(txn: Transaction) -> Committed:
            steps.step()
            done: Committed = await whole(txn)
            steps.step()
            return done

        store.do_transact = transact  # type: ignore[attr-defined]  # on this handle only
        sys.addaudithook(steps.watch)
        await Run(store, user, "s1", meta(await user.resolve()), TASKS, options).run()


if __name__ == "__main__":
    os.umask(0o077)
    counted = Steps(int(sys.argv[2]))
    asyncio.run(finish(Path(sys.argv[1]), counted))
    sys.stdout.write(f"{counted.seen}\n")
