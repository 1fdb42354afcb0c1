"""Repositories, plans and environments that the benchmarks work on."""

from __future__ import annotations

import json
import os
import subprocess
import sysconfig
from pathlib import Path

__all__ = ["FILES", "coord", "environment", "git", "make_repository", "plan_of", "run_output"]

FILES = 200


def coord() -> str:
    """Return the path of the `coord` that belongs to this Python."""
    return str(Path(sysconfig.get_path("scripts")) / "coord")


def environment(folder: Path) -> dict[str, str]:
    """Return an environment with a state folder of its own and no configuration but the repository's."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("COORD_", "GIT_"))}
    return {**kept, "COORD_HOME": str(folder / "state"), "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}


def run_output(argv: list[str], cwd: Path, env: dict[str, str]) -> str:
    """Run a command and return what it printed."""
    return subprocess.run(argv, cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout


def git(repository: Path, *args: str) -> str:
    """Run git in a repository and return what it printed."""
    done = subprocess.run(["git", "-C", str(repository), *args], capture_output=True, text=True, check=True)
    return done.stdout


def make_repository(folder: Path, files: int = FILES) -> Path:
    """Make a repository with so many small files and one commit."""
    repository = folder / "repository"
    for number in range(files):
        path = repository / f"src/part{number % 20}/file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"file {number}\n" * 20)
    git(repository, "init", "--quiet", "--initial-branch=main")
    git(repository, "config", "user.name", "Bench")
    git(repository, "config", "user.email", "bench@example.invalid")
    git(repository, "add", "--all")
    git(repository, "commit", "--quiet", "--message", "base")
    return repository


def plan_of(folder: Path, agents: int, script: str) -> Path:
    """Write a plan of so many independent tasks; ``{n}`` in the script is the task's number."""
    tasks = [
        {
            "id": f"t{number}",
            "prompt": f"write out{number}.txt",
            "writes": [f"out{number}.txt"],
            "agent": {"command": ["sh", "-c", script.replace("{n}", str(number))]},
        }
        for number in range(agents)
    ]
    path = folder / "plan.json"
    path.write_text(json.dumps({"goal": "benchmark", "tasks": tasks}))
    return path
