"""A repository to run plans on, and `coord` as a person would type it."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def last(self) -> str:
        return self.out.rstrip("\n").rpartition("\n")[2]


class Place:
    """A user's repository with some files, a state folder, and `coord`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.repository = folder / "repository"
        self.repository.mkdir()
        self.env = {**os.environ, "COORD_HOME": str(folder / "state")}
        self.git("init", "-q", "-b", "main")
        self.git("config", "user.name", "Somebody")
        self.git("config", "user.email", "somebody@example.invalid")
        for name in ("a.txt", "b.txt", "shared.txt"):
            (self.repository / name).write_text(f"{name}\n")
        self.git("add", "-A")
        self.git("commit", "-qm", "base")

    def git(self, *args: str) -> str:
        argv = ["git", "-C", str(self.repository), *args]
        return subprocess.run(argv, capture_output=True, text=True, check=True, env=self.env).stdout

    def plan(self, tasks: dict[str, dict[str, Any]], **more: Any) -> Path:
        """Write a plan; a task's `sh` is its agent."""
        rows = []
        for name, task in tasks.items():
            row = {"id": name, "prompt": f"do {name}", "writes": [f"{name}.txt"], **task}
            row["agent"] = {"command": ["sh", "-c", row.pop("sh", f"echo {name} > {name}.txt")]}
            rows.append(row)
        path = self.folder / f"plan{len(list(self.folder.glob('plan*')))}.json"
        path.write_text(json.dumps({"goal": "test", "tasks": rows, **more}))
        return path

    def start(self, *args: str | Path, **env: str) -> subprocess.Popen[str]:
        argv = [str(Path(sysconfig.get_path("scripts")) / "coord"), *map(str, args)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen(argv, cwd=self.repository, env={**self.env, **env}, **pipes)  # type: ignore[call-overload, no-any-return]  # keywords in a dict

    def coord(self, *args: str | Path, **env: str) -> Done:
        process = self.start(*args, **env)
        out, err = process.communicate(timeout=100)
        return Done(process.returncode, out, err)

    def run(self, plan: Path, *args: str) -> Done:
        return self.coord("run", plan, "--session", "s", *args)

    def tasks(self, session: str = "s") -> dict[str, Any]:
        found = json.loads(self.coord("inspect", session, "--json").out)
        return {task["id"]: task for task in found["sessions"][0]["tasks"]}

    def show(self, path: str, session: str = "s") -> str:
        return self.git("show", f"coord/{session}:{path}")

    def untouched(self) -> dict[str, str]:
        """Return a digest of all that belongs to the user: checkout, index, HEAD, configuration."""
        files = [path for path in self.repository.rglob("*") if path.is_file() and "objects" not in path.parts]
        files = [path for path in files if "refs" not in path.parts and "logs" not in path.parts]
        mine = [
            path
            for path in files
            if path.relative_to(self.repository).parts[0] != ".git"
            or path.relative_to(self.repository / ".git").parts[0] in ("HEAD", "index", "config", "hooks", "info")
        ]
        return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in mine}


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)
