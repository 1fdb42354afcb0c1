"""A session by real commands: two workers with twenty agents, and an orchestrator that is killed again and again.

Orchestrator and workers share a store and a git remote, so agents go on while nobody leads; the next orchestrator has
to take over what runs. What agents do is told by a ledger of their own, the end by git, and neither asks the store.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sysconfig
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["CALM", "PATIENCE", "Scene", "killed_again_and_again"]

COORD: Final = str(Path(sysconfig.get_path("scripts")) / "coord")
AT_ONCE: Final = 20
"""Agents that work at a time, on two workers."""
CALM: Final = "calm"
"""The session that nobody disturbs: its agents do the same at once."""
PATIENCE: Final = 600.0
"""Seconds that an orchestrator which nobody kills has for what is left."""
AGENT: Final = """
echo "begin $COORD_AGENT" >> {ledger}
sleep {seconds}
cat /dev/null {needs} > {task}.txt
echo "$COORD_TASK" >> {task}.txt
echo "end $COORD_AGENT" >> {ledger}
"""


@dataclass
class Scene:
    """A store, a repository with a remote, and workers; a context manager.

    Args:
        folder: Where all of it lies.
        store: The store's URL.
        seed: Of the plan.
        tasks: How many.
        seconds: How long an agent works, at most.
    """

    folder: Path
    store: str
    seed: int
    tasks: int
    seconds: float
    _open: ExitStack = field(default_factory=ExitStack)

    def __enter__(self) -> Self:
        """Make the repository and start the workers."""
        self.repository, self.remote = self.folder / "repository", self.folder / "remote.git"
        self.repository.mkdir()
        (self.repository / "README").write_text("hello\n")
        for args in (["init", "-q", "-b", "main"], ["config", "user.name", "T"], ["config", "user.email", "t@t"]):
            self._git(*args)
        self._git("add", "-A")
        self._git("commit", "-qm", "base")
        self._git("clone", "-q", "--bare", str(self.repository), str(self.remote))
        self.workers = [self._start(name, "worker", "--slots", str(AT_ONCE // 2)) for name in ("one", "two")]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Kill all that was started."""
        self._open.close()

    def orchestrate(self, session: str) -> subprocess.Popen[bytes]:
        """Start an orchestrator without agents of its own, for a session with its own plan."""
        plan = self.folder / f"{session}.json"
        if not plan.exists():
            plan.write_text(json.dumps({"goal": session, "tasks": self.plan(session)}))
        options = ("--session", session, "--slots", "0", "--remote", str(self.remote), "--quiet")
        return self._start(session, "run", str(plan), *options, cwd=self.repository)

    def plan(self, session: str) -> list[dict[str, Any]]:
        """Return the tasks of a session; the same for all but for how long they take."""
        chance = random.Random(self.seed)
        rows = []
        for number in range(self.tasks):
            earlier = [f"t{each}" for each in range(max(0, number - AT_ONCE))]
            needs = sorted(chance.sample(earlier, min(len(earlier), chance.randint(0, 2))))
            seconds = chance.uniform(0.2, 1) * (0 if session == CALM else self.seconds)  # drawn anyhow: same needs
            ledger, files = self.folder / f"{session}.ledger", " ".join(f"{need}.txt" for need in needs)
            shell = AGENT.format(ledger=ledger, seconds=f"{seconds:.2f}", needs=files, task=f"t{number}")
            row = {"id": f"t{number}", "prompt": "write", "writes": [f"t{number}.txt"], "needs": needs}
            rows.append({**row, "agent": {"command": ["sh", "-c", shell]}})
        return rows

    def tree(self, session: str) -> str:
        """Return the tree that a session landed."""
        return self._git("rev-parse", f"coord/{session}^{{tree}}", where=self.remote).strip()

    def said(self, name: str) -> str:
        """Return the end of what a command said."""
        return (self.folder / f"{name}.out").read_text()[-1500:]

    def wrong(self, session: str) -> list[str]:
        """Return what is not as it must be at the end: each task completed, landed and done once, nothing left."""
        argv = [COORD, "inspect", session, "--json"]
        done = subprocess.run(argv, cwd=self.folder, env=self._env("look"), capture_output=True, text=True, check=True)
        found: dict[str, Any] = {task["id"]: task for task in json.loads(done.stdout)["sessions"][0]["tasks"]}
        ledger = Counter((self.folder / f"{session}.ledger").read_text().splitlines())
        merges = self._git("log", "--merges", "--first-parent", "--format=%s", f"coord/{session}", where=self.remote)
        merged = Counter(line.split()[1].partition(".")[0] for line in merges.splitlines())
        wrong = [f"{line}: {times} times" for line, times in ledger.items() if times != 1]
        for name in (f"t{number}" for number in range(self.tasks)):
            states = [attempt["state"] for attempt in found[name]["attempts"]]
            if states.count("completed") != 1 or states[-1] != "completed" or not found[name]["landed"]:
                wrong.append(f"{name} ended as {states}, landed: {found[name]['landed']}")
            if merged[name] != 1 or not ledger[f"end {name}.{len(states)}"]:
                wrong.append(f"{name} was merged {merged[name]} times")
        return wrong + [f"left: {path}" for path in self.folder.glob(f"*/workers/*/sessions/{session}/worktrees/*")]

    def attempts(self, session: str) -> int:
        """Return how many agents were begun."""
        return (self.folder / f"{session}.ledger").read_text().count("begin")

    def _start(self, name: str, *args: str, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(
                [COORD, *args],
                cwd=cwd or self.folder,
                env=self._env(name),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
            )
        self._open.callback(_end, process)
        return process

    def _env(self, host: str) -> dict[str, str]:
        return {**os.environ, "COORD_HOME": str(self.folder / host), "COORD_STORE": self.store}

    def _git(self, *args: str, where: Path | None = None) -> str:
        argv = ["git", "-C", str(where or self.repository), *args]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


def killed_again_and_again(scene: Scene, kills: int, every: float) -> tuple[int, list[str]]:
    """Run a session whose orchestrator is killed so often; return how often it was, and what was wrong in the end.

    Args:
        scene: Where.
        kills: How often, at most: the session may be done before.
        every: Seconds that each orchestrator lives.
    """
    calm = scene.orchestrate(CALM)
    if status := calm.wait(PATIENCE):
        return 0, [f"undisturbed it ended with status {status}: {scene.said(CALM)}"]
    done = 0
    while done < kills:
        leader = scene.orchestrate("killed")
        try:
            leader.wait(every)
        except subprocess.TimeoutExpired:
            leader.kill()
            leader.wait()
            done += 1
        else:
            break
    last = scene.orchestrate("killed")
    if status := last.wait(PATIENCE):
        return done, [f"after {done} kills it ended with status {status}: {scene.said('killed')}"]
    wrong = scene.wrong("killed")
    if scene.tree("killed") != scene.tree(CALM):
        wrong.append("the tree is another one than that of the undisturbed run")
    return done, wrong


def _end(process: subprocess.Popen[bytes]) -> None:
    """Have a worker stop its agents, and kill what does not end."""
    until = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < until:
        process.terminate()
        time.sleep(0.1)
    if process.poll() is None:
        process.kill()
    process.wait()
