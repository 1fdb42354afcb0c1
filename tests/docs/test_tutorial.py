"""The tutorial and the pages beside it do what they say: every command in them is run, every plan checked."""

from __future__ import annotations

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the fenced blocks of a page: language and text, without the indentation of a list."""
    text = (DOCS / page).read_text(encoding="utf-8")
    return [
        (kind, "".join(line.removeprefix(indent) for line in body.splitlines(keepends=True)))
        for indent, kind, body in BLOCK.findall(text)
    ]


def shell(script: str, cwd: Path, home: Path) -> subprocess.CompletedProcess[str]:
    path = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "COORD_HOME": str(home)}
    return subprocess.run(
        ["bash", "-euc", script], cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=100
    )


@pytest.mark.req("C2", "O3")
def test_every_command_of_the_tutorial_runs(tmp_path: Path) -> None:
    lines, plan = [], ""
    for kind, text in blocks("tutorial.md"):
        if kind == "yaml":
            plan = text
            lines.append("cp ../plan.yaml .")
        elif kind == "console":
            lines += [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    (tmp_path / "plan.yaml").write_text(plan)
    lines += ["ls", "git log --oneline"]
    done = shell("\n".join(lines), tmp_path, tmp_path / "state")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "git merge coord/first" in done.stdout
    assert "'README' is outside the task's write scope" in done.stdout
    files = set((tmp_path / "shop").iterdir())
    assert {tmp_path / "shop" / name for name in ("door.txt", "shelf.txt", "sign.txt", "report.html")} <= files
    assert (tmp_path / "shop" / "door.txt").read_text() == "open\n"
    assert (tmp_path / "shop" / "README").read_text() == "A shop.\n"


@pytest.mark.parametrize("page", ["tutorial.md", "from-shell-scripts.md"])
def test_every_plan_on_a_page_is_a_plan(tmp_path: Path, page: str) -> None:
    (plan,) = (text for kind, text in blocks(page) if kind == "yaml")
    (tmp_path / "plan.yaml").write_text(plan)
    done = shell("git init -q . && coord plan check plan.yaml", tmp_path, tmp_path / "state")
    assert done.returncode == 0, done.stderr


def test_the_readme_leads_to_every_page_for_users() -> None:
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    for page in ("tutorial", "choose-a-backend", "from-shell-scripts", "inspect", "report", "observability", "errors"):
        assert f"(docs/{page}.md)" in readme
