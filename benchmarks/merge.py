"""Merging thirty clean branches in a large repository, and a whole run with validation, against git and mergetrain."""

from __future__ import annotations

import asyncio
import json
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from benchmarks import five_agents
from benchmarks.environments import NotInstalled, program_of
from benchmarks.repository import coord, environment, git, make_repository, plan_of
from benchmarks.table import Row, median, timed
from coordstore.model import Check
from coordstore.plugins import open_store
from coordstore.session import State
from coordstore.session.session import Session
from coordstore_orchestrator.git.session import SessionRepository
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.merge.integrate import Integration
from coordstore_orchestrator.merge.land import land, release_epoch, take_epoch
from coordstore_orchestrator.merge.merger import Merger
from coordstore_orchestrator.monitor.decide import Integrate
from coordstore_orchestrator.monitor.leadership import Leadership

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["measure"]

FILES: Final = 5_000
BRANCHES: Final = 30
ROUNDS: Final = 5
TRAINS: Final = 1
"""Rounds of mergetrain, which takes its time."""
FASTER: Final = 3.0
LIMIT: Final = 3.0
FLOOR: Final = r"""
set -e
git checkout --quiet -b "$1" main
for n in $(seq 0 29); do git merge --quiet --no-ff -m "merge $n" "work$n"; done
git checkout --quiet main
"""
VALIDATE: Final = "test -f out0.txt && test -f out4.txt"
WHOLE_FLOOR: Final = five_agents.FLOOR.replace(
    "git checkout --quiet main\n", f"{VALIDATE}\ngit checkout --quiet main\n"
)


def measure(scale: float = 1.0) -> list[Row]:
    """Time all in turn, so that a slow moment meets each; check that all made the same tree."""
    rounds = max(1, round(ROUNDS * scale))
    with tempfile.TemporaryDirectory() as name:
        rows = _thirty(Path(name), rounds)
    with tempfile.TemporaryDirectory() as name:
        return [*rows, _whole_run(Path(name), rounds)]


def _thirty(folder: Path, rounds: int) -> list[Row]:
    repository = make_repository(folder, FILES)
    env = environment(folder)
    _branches(repository)
    train = Train(folder, env)
    floor, ours, theirs = [], [], list[float]()
    for turn in range(rounds + 1):
        floor.append(timed(["sh", "-c", FLOOR, "floor", f"plain{turn}"], repository, env))
        (folder / f"state{turn}").mkdir()
        ours.append(asyncio.run(_ours(repository, folder / f"state{turn}", f"s{turn}")))
        trees = {git(repository, "rev-parse", f"{ref}^{{tree}}") for ref in (f"plain{turn}", f"coord/s{turn}")}
        assert len(trees) == 1, "the two results differ"
        if train.works and turn <= TRAINS:  # the first warms the caches, as with the others
            theirs.append(train.once(repository, turn))
    ratio = median([floor[turn] / ours[turn] for turn in range(1, rounds + 1)])
    seconds = median(ours[1:])
    figure = f"{ratio:.1f}× ({seconds:.2f} s against {median(floor[1:]):.2f} s, median of {rounds})"
    claim = f"{BRANCHES} clean branches, {FILES:,} files: gated, merged, recorded, landed"
    rows = [Row(claim, f"≥ {FASTER:g}× faster than git merge --no-ff", figure, ratio >= FASTER)]
    against = f"{theirs[-1] / seconds:.1f}× ({seconds:.2f} s against {theirs[-1]:.2f} s)" if theirs else train.why
    return [
        *rows,
        Row("the same against mergetrain's queue", "faster", against, theirs[-1] > seconds if theirs else None),
    ]


def _branches(repository: Path) -> None:
    """Make thirty branches, each with a new file and a changed one, in one git process."""
    lines = []
    for number in range(BRANCHES):
        changed, new = f"changed {number}\n", f"work {number}\n"
        lines.append(
            f"commit refs/heads/work{number}\ncommitter B <b@x> 1700000000 +0000\ndata 4\nwork\nfrom refs/heads/main\n"
            f"M 100644 inline src/part{number % 20}/file{number}.txt\ndata {len(changed)}\n{changed}\n"
            f"M 100644 inline new{number}.txt\ndata {len(new)}\n{new}\n"
        )
    subprocess.run(["git", "fast-import", "--quiet"], cwd=repository, input="".join(lines).encode(), check=True)


async def _ours(repository: Path, folder: Path, name: str) -> float:
    """Merge as the orchestrator does, durably recorded in an SQLite store; return the seconds."""
    user = await UserRepository.discover(repository)
    base = await user.resolve("main")
    agents, integration = SessionRepository(folder / "repo"), Integration(folder / "integration.git")
    await agents.create(user, base)
    await integration.create(user, agents)
    async with open_store(f"sqlite:{folder / 'store.db'}") as store, await store.grant(60) as lease:
        session = Session(store, name)
        work = await _completed(session, user, base, lease)
        token = await store.create(session.keys.leader, b"{}", lease)
        leadership = Leadership(Check(session.keys.leader, create_revision=token), lease)
        epoch = await take_epoch(user, name, base, token)
        merger = Merger(session, leadership, integration, base)
        view = await session.view()
        began = time.perf_counter()
        for action in work:
            await merger.integrate(view, action)
        tip = (await session.view()).tip
        assert tip is not None
        await land(user, integration.path, name, tip, epoch)
        took = time.perf_counter() - began
        await release_epoch(user, name, epoch)
    return took


async def _completed(session: Session, user: UserRepository, base: str, lease: object) -> list[Integrate]:
    """Let every task complete with its branch's commit."""
    tasks = {f"t{number}": {"writes": ["**"], "name": f"t{number}"} for number in range(BRANCHES)}
    await session.create({"digest": "d"}, tasks)
    for number in range(BRANCHES):
        await session.assign((await session.view()).tasks[f"t{number}"], base)
        claim = await session.claim(f"t{number}.1", (), {"host": "h", "pid": 1}, lease)  # type: ignore[arg-type]  # a Lease
        commit = await user.resolve(f"work{number}")
        await claim.finish(State.COMPLETED, {"code": "completed", "commit": commit})
    return [Integrate(f"t{number}", f"t{number}.1") for number in range(BRANCHES)]


@dataclass
class Train:
    """mergetrain's queue; where it cannot be installed, the reason."""

    folder: Path
    env: Mapping[str, str]
    why: str = ""

    def __post_init__(self) -> None:
        try:
            self.program = program_of("mergetrain")
        except NotInstalled as error:
            self.why = f"not measured: {error}"

    @property
    def works(self) -> bool:
        """Whether it is there."""
        return not self.why

    def once(self, repository: Path, turn: int) -> float:
        """Queue the branches from worktrees, as it demands; return the seconds of merging them without a push."""
        place = self.folder / f"train{turn}"
        git(repository, "clone", "--quiet", "--bare", str(repository), str(place / "origin.git"))
        git(repository, "clone", "--quiet", "--branch", "main", str(place / "origin.git"), str(place / "clone"))
        clone = place / "clone"
        git(clone, "config", "user.name", "Bench")
        git(clone, "config", "user.email", "bench@example.invalid")
        timed([self.program, "init", "--write"], clone, self.env)
        for number in range(BRANCHES):
            git(
                clone,
                "worktree",
                "add",
                "--quiet",
                "-b",
                f"work{number}",
                str(place / f"w{number}"),
                f"origin/work{number}",
            )
            queue = [self.program, "enqueue", "--task", f"t{number}", "--branch", f"work{number}"]
            timed([*queue, "--worktree", str(place / f"w{number}")], clone, self.env)
        return timed([self.program, "validate"], clone, self.env)


def _whole_run(folder: Path, rounds: int) -> Row:
    """Time `coord run` of five agents with a validation against a script that does and checks the same."""
    repository = make_repository(folder)
    env = environment(folder)
    plan = plan_of(folder, five_agents.AGENTS, five_agents.AGENT)
    plan.write_text(json.dumps({**json.loads(plan.read_text()), "validate": [VALIDATE]}))
    ours, floor = [], []
    for turn in range(rounds + 1):
        floor.append(timed(["sh", "-c", WHOLE_FLOOR, "floor", f"plain{turn}", str(folder)], repository, env))
        ours.append(timed([coord(), "run", str(plan), "--session", f"s{turn}", "--quiet"], repository, env))
    ratio = median([ours[turn] / floor[turn] for turn in range(1, rounds + 1)])
    figure = f"{ratio:.2f}× ({median(ours[1:]):.2f} s against {median(floor[1:]):.2f} s, median of {rounds})"
    return Row("five agents merged and validated, durability=full", f"≤ {LIMIT:g}× plain git", figure, ratio <= LIMIT)
