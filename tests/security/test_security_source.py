"""What our source must not contain, found in its syntax tree; and what is installed with it."""

from __future__ import annotations

import ast
import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / name for name in ("coordstore", "backends", "orchestrator")]
SUITE = ROOT / "coordstore" / "testing"
"""Shows that errors can be pickled; it is no part of what runs."""
SOURCES = [path for folder in FOLDERS for path in folder.rglob("*.py") if not path.is_relative_to(SUITE)]
FORBIDDEN_CALLS = {
    *("os.system", "os.popen", "eval", "exec", "compile", "subprocess.getoutput", "subprocess.getstatusoutput"),
    *("asyncio.create_subprocess_shell", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "tempfile.mktemp"),
}
FORBIDDEN_MODULES = {"pickle", "marshal", "shelve", "dill", "git", "dulwich", "pty", "telnetlib"}
PLANS_OWN_COMMANDS = {"merge/validate.py", "worker/attempt.py"}
"""Where text of a plan's `setup`, `checks` and `validate` is given to a shell; no other text ever is."""


def name_of(call: ast.expr) -> str:
    if isinstance(call, ast.Attribute):
        return f"{name_of(call.value)}.{call.attr}"
    return call.id if isinstance(call, ast.Name) else "?"


def sins(source: str) -> Iterator[str]:
    """Yield what is forbidden everywhere."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            if name_of(node.func) in FORBIDDEN_CALLS:
                yield name_of(node.func)
            if any(word.arg == "shell" and getattr(word.value, "value", True) for word in node.keywords):
                yield "shell="
        if isinstance(node, ast.Import | ast.ImportFrom):
            named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (name for name in named if name.split(".")[0] in FORBIDDEN_MODULES)
        if isinstance(node, ast.Constant) and node.value in {"send-keys", "-lc"}:
            yield str(node.value)


def starts_a_shell(source: str) -> bool:
    """Tell whether an argument list that begins with a shell is written out."""
    lists = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.List | ast.Tuple))
    words = ([getattr(each, "value", None) for each in node.elts] for node in lists)
    return any(row[:1] and str(row[0]).rpartition("/")[2] in {"sh", "bash"} and "-c" in row for row in words)


@pytest.mark.security(1, 12)
def test_no_shell_no_eval_and_no_format_that_runs_code() -> None:
    found = {path.relative_to(ROOT).as_posix(): list(sins(path.read_text(encoding="utf-8"))) for path in SOURCES}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.security(1)
def test_a_shell_is_started_for_the_plans_own_commands_only() -> None:
    found = {path for path in SOURCES if starts_a_shell(path.read_text(encoding="utf-8"))}
    names = {path.relative_to(ROOT / "orchestrator" / "coordstore_orchestrator").as_posix() for path in found}
    assert names <= PLANS_OWN_COMMANDS


@pytest.mark.parametrize(
    "planted",
    [
        "import subprocess\nsubprocess.run('x', shell=True)",
        "import os\nos.system('x')",
        "import pickle",
        "from git import Repo",
        "import yaml\nyaml.load('x')",
        "eval('1')",
        "run(['tmux', 'send-keys', text])",
    ],
)
def test_what_is_planted_is_found(planted: str) -> None:
    assert list(sins(planted))


def test_a_planted_shell_is_found() -> None:
    assert starts_a_shell("run(['/bin/sh', '-c', text])")
    assert not starts_a_shell("run(['git', '-c', text])")


@pytest.mark.security(16)
def test_dependencies_are_few_and_new_enough() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    optional = [each for name, each in project["optional-dependencies"].items() if name != "dev"]
    wanted = [each for group in (project["dependencies"], *optional) for each in group]
    pairs = [each.partition(">=") for each in wanted]
    minimum = {name.partition("[")[0]: re.split("[^0-9.]", version)[0] for name, _, version in pairs if version}
    version = tuple(int(part) for part in minimum.get("filelock", "4.2.11").split("."))
    assert version >= (4, 2, 11)
    assert tuple(int(part) for part in minimum.get("mcp", "1.23").split(".")[:2]) >= (1, 23)
    assert not {"gitpython", "pyro4", "paramiko"} & {name.lower() for name in minimum}


@pytest.mark.security(16)
def test_the_rules_of_bandit_are_on_for_all_of_our_source() -> None:
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert lint["select"] == ["ALL"]
    off = {rule for rule in lint["ignore"] if re.fullmatch(r"S\d+", rule)}
    assert off <= {"S603", "S607"}, "each rule that is off must be argued for"
    for places, rules in lint["per-file-ignores"].items():
        if not re.search("tests|benchmarks|scripts|conftest", places):
            assert not {"S", "S102", "S301", "S307", "S602", "S605", "S506", "S608"} & set(rules), places
