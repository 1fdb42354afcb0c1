"""Lets an agent show that it can do the work: one tiny task in a throw-away repository, run like any other.

The verdict comes from what is there afterwards: the file with what was asked for, verified by a check, and, where the
agent's stream tells of tools, at least one call. Nothing of it touches the user's repository or store.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore.plugins import open_store
from coordstore.session import events
from coordstore_orchestrator.git.run import git
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.options import RunOptions
from coordstore_orchestrator.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.session import SessionView
    from coordstore.store import CoordStore
    from coordstore_orchestrator.agents.profile import Profile

__all__ = ["WORD", "probe"]

WORD: Final = "proved"
TASK: Final = "probe"
PROMPT: Final = (
    f"Create the file proof.txt in the current folder. Its only line is the word {WORD}. Use your tools to do it,"
    " then say that you are done."
)
DEADLINE: Final = 180.0
IDLE: Final = 90.0


async def probe(profile: Profile, environ: Mapping[str, str]) -> str | None:
    """Let an agent try; return what was wrong, None when nothing was.

    Args:
        profile: Which agent; its fall-backs do not count.
        environ: The environment that agents' variables are taken from.

    Cancelled, nothing of it is left, neither process nor folder.
    """
    with tempfile.TemporaryDirectory(prefix="coord-probe-") as name:
        folder = Path(name)
        user = await _repository(folder / "repository")
        options = RunOptions(
            home=folder / "home",
            slots=1,
            agent=profile.name,
            profiles={profile.name: profile},
            environ=environ,
            merge=False,
        )
        meta = {"schema": 1, "goal": "probe", "digest": "probe", "base": await user.resolve("HEAD")}
        async with open_store(f"sqlite:{folder}/store.db?durability=process") as store:
            view = await Run(store, user, "probe", meta, {TASK: _task()}, options).run()
            return await _verdict(view, store, profile)


async def _repository(folder: Path) -> UserRepository:
    await asyncio.to_thread(folder.mkdir)
    await git(["init", "-q", "-b", "main"], cwd=folder)
    who = {f"GIT_{role}_{what}": "coord" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    await git(["commit", "-q", "--allow-empty", "-m", "empty"], cwd=folder, env=who)
    return await UserRepository.discover(folder)


def _task() -> dict[str, object]:
    return {
        "id": TASK,
        "name": TASK,
        "prompt": PROMPT,
        "writes": ["proof.txt"],
        "checks": [f"grep -qx {WORD} proof.txt"],
        "limits": {"deadline": DEADLINE, "idle": IDLE, "attempts": 1},
    }


async def _verdict(view: SessionView, store: CoordStore, profile: Profile) -> str | None:
    task = view.tasks[TASK]
    if not view.merged(TASK).get("merged"):
        return view.reason(task) or "it did not complete"
    if profile.output == "plain" or task.latest is None:
        return None
    records = await store.read(view.keys.stream(task.latest.agent))
    told = [events.decode(record.data) for record in records]
    if not any(isinstance(event, events.ToolCall) for event in told):
        return "it wrote the file, but its stream told of no tool call: its output is not understood"
    return None
