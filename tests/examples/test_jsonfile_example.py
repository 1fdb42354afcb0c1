"""The example of a stranger's backend, installed from its own distribution, certifies itself with the shipped suite."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.req("S10")

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "coordstore-jsonfile"
SOURCES = sorted((EXAMPLE / "src").rglob("*.py"))


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install the example into a folder of its own; return an environment that has it on the import path."""
    site = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--disable-pip-version-check", "--no-index", "--no-build-isolation", "--no-deps"]
    argv = [sys.executable, "-m", "pip", "install", *options, "--target", str(site), str(EXAMPLE)]
    subprocess.run(argv, check=True, timeout=60)
    return {**os.environ, "PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.timeout(180)
def test_it_passes_the_suite_that_comes_with_the_library(environment: dict[str, str]) -> None:
    argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"]
    done = subprocess.run(argv, cwd=EXAMPLE, env=environment, capture_output=True, text=True, timeout=150, check=False)
    last = done.stdout.strip().rpartition("\n")[2]
    assert done.returncode == 0, done.stdout
    assert " passed" in last
    assert "skipped" not in last


def test_it_is_a_backend_like_the_others(environment: dict[str, str], tmp_path: Path) -> None:
    def coord(*args: str) -> str:
        argv = [sys.executable, "-c", "from coordstore.cli.main import main; raise SystemExit(main())", *args]
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, timeout=30, check=True)
        return done.stdout

    found = {each["scheme"]: each for each in json.loads(coord("backends", "--json"))["backends"]}
    assert found["jsonfile"]["distribution"] == "coordstore-jsonfile"
    code = "from coordstore import sync; import sys\nwith sync.open_store(sys.argv[1]) as s: s.put('a', b'\\xff')"
    source = f"jsonfile:{tmp_path}/store.jsonl"
    subprocess.run([sys.executable, "-c", code, source], env=environment, check=True, timeout=30)
    assert "1 key, 0 streams" in coord("copy", source, f"sqlite:{tmp_path}/copy.db")


def imported() -> Iterator[tuple[str, str]]:
    """Yield (module, name) of all that the example takes from the library."""
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "coordstore":
                yield from ((node.module or "", alias.name) for alias in node.names)


def test_it_stands_on_public_names_only() -> None:
    taken = set(imported())
    assert len(taken) > 10
    for module, name in taken:
        if name not in getattr(importlib.import_module(module), "__all__", ()):
            importlib.import_module(f"{module}.{name}")  # then it is a module
    private = [
        (path.name, node.attr)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not is_own(node)
    ]
    assert private == []


def is_own(node: ast.Attribute) -> bool:
    return node.attr == "__init__" or (isinstance(node.value, ast.Name) and node.value.id == "self")


def test_it_is_short() -> None:
    def written(path: Path) -> int:
        return sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())

    assert sum(map(written, SOURCES)) <= 300
    assert len((EXAMPLE / "tests" / "test_conformance.py").read_text(encoding="utf-8").splitlines()) < 30
