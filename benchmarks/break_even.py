"""Whether the advice of `coord plan check` is right: the same plan with many agents and with one."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.repository import coord, environment, make_repository, run_output
from benchmarks.table import Row, median, timed

__all__ = ["measure"]

TASKS: Final = 4
ROUNDS: Final = 3
HISTORY: Final = 2
"""Runs before the question, as a store has seen them."""
AGENT: Final = "for each in $(grep -o 'out[0-9]*[.]txt' | sort -u); do sleep {seconds}; echo work > $each; done"
"""Does what its prompt names, be it one task or all of them."""


class Case(NamedTuple):
    """A repository and its tasks.

    Args:
        files: In the repository.
        seconds: That a task takes an agent.
        chain: Whether each task needs the one before.
    """

    files: int
    seconds: float
    chain: bool


CASES: Final = {
    "tasks of two seconds": Case(200, 2.0, chain=False),
    "tasks of nothing, 10,000 files": Case(10_000, 0.0, chain=False),
    "a chain of tasks": Case(200, 0.3, chain=True),
}


def measure(scale: float = 1.0) -> list[Row]:
    """Run each plan a few times, ask for advice, then time both."""
    return [_advised(name, case, scale) for name, case in CASES.items()]


def _advised(name: str, case: Case, scale: float) -> Row:
    rounds = max(round(ROUNDS * scale), 1)
    with tempfile.TemporaryDirectory() as folder_name:
        folder = Path(folder_name)
        repository = make_repository(folder, max(round(case.files * scale), 10))
        env = environment(folder)
        plan = str(_plan(folder, case))
        slots = ["--slots", str(TASKS), "--quiet"]
        took: dict[str, list[float]] = {"many": [], "one": []}
        for turn in range(HISTORY):
            timed([coord(), "run", plan, "--session", f"h{turn}", "--many-agents", *slots], repository, env)
        said = run_output([coord(), "plan", "check", plan, "--slots", str(TASKS)], repository, env)
        for turn in range(rounds):
            for way, times in took.items():
                argv = [coord(), "run", plan, "--session", f"{way}{turn}", f"--{way}-agent{'s' * (way == 'many')}"]
                times.append(timed([*argv, *slots], repository, env))
    many, one = median(took["many"]), median(took["one"])
    advice = "one" if "one agent is better" in said else "many" if "many are better" in said else "none"
    assert "measured on" in said, said
    figure = f"{many:.1f} s with many agents, {one:.1f} s with one, median of {rounds}; advised: {advice}"
    return Row(f"break-even, {name}", "the faster one is advised", figure, advice == ("one" if one <= many else "many"))


def _plan(folder: Path, case: Case) -> Path:
    tasks = [
        {
            "id": f"t{number}",
            "prompt": f"write out{number}.txt",
            "writes": [f"out{number}.txt"],
            "needs": [f"t{number - 1}"] if case.chain and number else [],
        }
        for number in range(TASKS)
    ]
    agent = {"command": ["sh", "-c", AGENT.replace("{seconds}", str(case.seconds))]}
    path = folder / "plan.json"
    path.write_text(json.dumps({"goal": "benchmark", "agent": agent, "tasks": tasks}))
    return path
