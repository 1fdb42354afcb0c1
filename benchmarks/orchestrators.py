"""Five trivial agents through us and through what others published for that, side by side: ``make bench-peers``.

Each round everybody gets a repository of its own, made beforehand, and the same agent: write a file, commit it. The
time is from the start of the tool to all five merged; a round counts when the merged tree has all five files. Run as a
program it also writes its table into docs/benchmarks.md.
"""

from __future__ import annotations

import os
import platform
import socket
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.environments import NotInstalled, program_of, version
from benchmarks.five_agents import AGENT, AGENTS, FLOOR
from benchmarks.repository import coord, environment, git, make_repository, plan_of
from benchmarks.table import Row, median, timed

__all__ = ["TOOLS", "measure", "page", "write"]

ROUNDS: Final = 5
PAGE: Final = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MARKS: Final = ("<!-- five agents: begin -->\n", "<!-- five agents: end -->\n")
STUB: Final = """#!/bin/sh
n=$(printf %s "$*" | sed -n 's/.*[Ww]rite out\\([0-9]\\).*/\\1/p' | head -n 1)
[ "$n" ] || exec echo "2.1.0 (Claude Code)"
{agent}
"""
"""Stands where an agent is expected: does its task, or tells a version when it is given none."""
MANIFEST: Final = """---
po_plan_version: "0.1"
name: five
cwd: repository
tasks:
{tasks}
---
"""
QUEUED: Final = """
set -e
for n in 0 1 2 3 4; do git worktree add --quiet --no-track -b "work$n" "$1/work$n" main; done
for n in 0 1 2 3 4; do (
    cd "$1/work$n" && {agent} && "$2" enqueue --auto --task "t$n" --branch "work$n"
) & done
wait
"$2" daemon --once
"""
LANES: Final = """
for n in 0 1 2 3 4; do (
    for again in $(seq 100); do
        agent-parley run "work$n" --provider claude --task "write out$n.txt" && break
        sleep 0.1
    done
) & done
wait
agent-parley participant merge --all --yes
"""
READY: Final = """
for again in $(seq 100); do
    agent-parley report --state ready --summary written --evidence committed && break
    sleep 0.1
done
exit 0
"""
"""Its end is no failure even when the report was refused: the lane is not started again for that."""
STAGE: Final = """name: five
stages:
  - name: write
    steps:
{steps}
"""
STEP: Final = """      - title: "Write out{n}.txt"
        description: "write out{n}.txt"
        role: {role}
        scope: small
        complexity: low
        files: [out{n}.txt]
        completion_signals: [{{type: path_exists, path: out{n}.txt}}]
"""
ROLES: Final = ("backend", "frontend", "qa", "docs", "devops")
"""One for each task: tasks of one role would share an agent."""
COMPLETE: Final = r"""
bernstein task complete --summary written \
    "$(printf %s "$*" | sed -n 's/^bernstein task complete \([0-9a-f]*\) --summary.*/\1/p' | head -n 1)"
"""
"""What its prompt tells an agent to run at the end."""
ON_SHELL: Final = AGENT.replace("{n}", "$n")

Tool = Callable[[Path, dict[str, str]], tuple[float, str]]
"""Runs five agents in the repository of a folder; returns the seconds, and the ref that they were merged into."""


class Times(NamedTuple):
    """What became of the rounds of one tool.

    Args:
        took: Seconds of those that merged all five.
        lost: How many others there were.
        why: Why there was none, when the tool is not there.
    """

    took: list[float]
    lost: int
    why: str


def plain_git(folder: Path, env: dict[str, str]) -> tuple[float, str]:
    """Run a script of worktrees, commits and merges."""
    return timed(["sh", "-c", FLOOR, "floor", "merged", str(folder)], folder / "repository", env), "merged"


def ours(folder: Path, env: dict[str, str]) -> tuple[float, str]:
    """Run `coord run`."""
    argv = [coord(), "run", str(plan_of(folder, AGENTS, AGENT)), "--session", "s", "--quiet"]
    return timed(argv, folder / "repository", env), "coord/s"


def parallel_orchestra(folder: Path, env: dict[str, str]) -> tuple[float, str]:
    """Run its manifest, with a stub in the place of its agent."""
    stub, manifest = _stub(folder, ON_SHELL), folder / "plan.md"
    row = '  - {{id: t{n}, agent: writer, read_only: false, prompt: "write out{n}.txt"}}'
    manifest.write_text(MANIFEST.format(tasks="\n".join(row.format(n=number) for number in range(AGENTS))))
    argv = [program_of("parallel-orchestra"), "run", str(manifest), "--claude-exe", str(stub)]
    return timed(
        [*argv, "--max-workers", str(AGENTS), "--no-log", "--no-dashboard"], folder / "repository", env
    ), "main"


def mergetrain(folder: Path, env: dict[str, str]) -> tuple[float, str]:
    """Let each agent queue its branch for the unattended runner, which pushes to a bare repository beside."""
    program, repository, remote = program_of("mergetrain"), folder / "repository", folder / "remote.git"
    git(folder, "clone", "--quiet", "--bare", str(repository), str(remote))
    git(repository, "remote", "add", "origin", str(remote))
    timed([program, "init", "--project", "five", "--write"], repository, env)
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "configuration")
    git(repository, "push", "--quiet", "origin", "main")
    took = timed(["sh", "-c", QUEUED.format(agent=ON_SHELL), "queued", str(folder), program], repository, env)
    git(repository, "fetch", "--quiet", "origin")
    return took, "origin/main"


def agent_parley(folder: Path, env: dict[str, str]) -> tuple[float, str]:
    """Run a lane for each agent beside its service, again when told to retry later, and merge what is ready."""
    program, repository = program_of("agent-parley"), folder / "repository"
    _stub(folder, f"{ON_SHELL}\n{READY}")
    own = {"AGENT_PARLEY_HOME": str(folder / "parley"), "AGENT_PARLEY_PORT": _free_port()}
    env = _beside(folder, program, env) | own
    timed([program, "setup", "."], repository, env)
    (folder / "parley" / "supervision.json").write_text('{"max_load_ratio": 1000}')  # starts nothing on a busy machine
    timed([program, "forge", "set", "null"], repository, env)
    timed([program, "up"], repository, env)
    try:
        return timed(["sh", "-c", LANES], repository, env), "main"
    finally:
        timed([program, "down"], repository, env)


def bernstein(folder: Path, env: dict[str, str]) -> tuple[float, str]:
    """Run its plan on a working branch, which it asks for, and merge without pull requests."""
    program, repository, plan = program_of("bernstein"), folder / "repository", folder / "plan.yaml"
    _stub(folder, f"{ON_SHELL} && {COMPLETE.strip()}")
    env = _beside(folder, program, env) | {"ANTHROPIC_API_KEY": "none"}
    plan.write_text(STAGE.format(steps="".join(STEP.format(n=n, role=role) for n, role in enumerate(ROLES))))
    timed([program, "init"], repository, env)
    (repository / "bernstein.yaml").write_text("goal: five files\ncli: claude\ninternal_llm_provider: none\n")
    (repository / ".sdd/runtime/run_config.json").write_text('{"merge_strategy": "direct"}')
    git(repository, "add", ".gitignore", "bernstein.yaml", "templates")
    git(repository, "commit", "--quiet", "--message", "configuration")
    git(repository, "checkout", "--quiet", "-b", "work")
    argv = [program, "run", str(plan), "--port", _free_port(), "--auto-approve", "--quiet", "--wait", "900"]
    try:
        # It ends with 3 when a task that it added has failed, even when all of the plan's are merged: the tree tells.
        return timed(argv, repository, env, expect=None), "work"
    finally:
        timed([program, "stop", "--force"], repository, env)


TOOLS: Final[dict[str, tuple[Tool, str]]] = {
    "plain git": (plain_git, "worktrees, parallel commits, five merges"),
    "coordstore": (ours, "`coord run plan.json`"),
    "parallel-orchestra": (parallel_orchestra, "`parallel-orchestra run plan.md --max-workers 5`; nothing is durable"),
    "mergetrain": (mergetrain, "`mergetrain enqueue --auto` by each agent, `mergetrain daemon --once`; durable queue"),
    "agent-parley": (
        agent_parley,
        "`agent-parley run` for each, `agent-parley participant merge --all`, beside its service; SQLite",
    ),
    "bernstein": (bernstein, "`bernstein run plan.yaml --wait`, a role for each task, merged without pull requests"),
}
"""By name: how it runs, and what it does."""
DURABLE: Final = ("mergetrain",)
"""Peers that know after a crash what was done."""


def measure(scale: float = 1.0, tools: tuple[str, ...] = tuple(TOOLS)) -> list[Row]:
    """Let every tool have a round in turn, after one that warms the caches."""
    return [_row(name, times) for name, times in _all(scale, tools).items()]


def page(found: dict[str, Times]) -> str:
    """Return the table for the page."""
    lines = ["| tool | version | start to merged, median (least to most) | all five merged | what was run |"]
    lines.append("|---|---|---|---|---|")
    for name, times in found.items():
        rounds = len(times.took) + times.lost
        seconds = f"{median(times.took):.2f} s ({min(times.took):.2f} to {max(times.took):.2f})" if times.took else ""
        whole = times.why or f"{len(times.took)} of {rounds}"
        lines.append(f"| {name} | {_version(name)} | {seconds} | {whole} | {TOOLS[name][1]} |")
    return "\n".join(lines) + "\n"


def write(table: str, file: Path = PAGE) -> None:
    """Put the table between the marks of a page."""
    begin, end = MARKS
    before, _, rest = file.read_text(encoding="utf-8").partition(begin)
    file.write_text(f"{before}{begin}{table}{end}{rest.partition(end)[2]}", encoding="utf-8")


def _all(scale: float, tools: tuple[str, ...]) -> dict[str, Times]:
    found = {name: Times([], 0, "") for name in tools}
    for turn in range(max(round(ROUNDS * scale), 1) + 1):
        for name, times in found.items():
            if not times.why:
                seconds, whole, why = _once(name)
                if why or not turn:
                    found[name] = times._replace(why=why)
                elif whole:
                    times.took.append(seconds)
                else:
                    found[name] = times._replace(lost=times.lost + 1)
    return found


def _once(name: str) -> tuple[float, bool, str]:
    """Return the seconds of one round, whether all five were merged, and why the tool is not there."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        repository = make_repository(folder)
        try:
            seconds, ref = TOOLS[name][0](folder, environment(folder))
        except NotInstalled as error:
            return 0, False, str(error)
        except RuntimeError as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 0, False, ""
        merged = git(repository, "ls-tree", "--name-only", ref).split()
        return seconds, {f"out{number}.txt" for number in range(AGENTS)} <= set(merged), ""


def _stub(folder: Path, agent: str) -> Path:
    stub = folder / "claude"
    stub.write_text(STUB.format(agent=agent))
    stub.chmod(0o755)
    return stub


def _beside(folder: Path, program: str, env: dict[str, str]) -> dict[str, str]:
    """Return an environment where the stub and the program are found, with a home folder of its own."""
    home = folder / "home"
    home.mkdir()
    return env | {"HOME": str(home), "PATH": os.pathsep.join([str(folder), str(Path(program).parent), env["PATH"]])}


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def _row(name: str, times: Times) -> Row:
    figure = times.why or "never merged all five"
    if times.took:
        figure = f"{median(times.took):.2f} s (median of {len(times.took)}; {times.lost} others did not merge all five)"
    return Row(f"five trivial agents side by side: {name} {_version(name)}".rstrip(), "", figure, None)


def _version(name: str) -> str:
    return "" if name in ("plain git", "coordstore") else version(name)


def main() -> int:
    """Measure, print and write the table."""
    before = os.getloadavg()[1]
    table = page(_all(1.0, tuple(TOOLS)))
    machine = f"{platform.system()}, {os.cpu_count()} processors, load {before:.0f} before"
    versions = f"Python {platform.python_version()}, {git(PAGE.parent, 'version').strip()}"
    write(f"{machine}; {versions}.\n\n{table}")
    print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
