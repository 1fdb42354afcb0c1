"""The code keeps the measures that it set itself: short functions, short modules, tables of contents without logic."""

from __future__ import annotations

import ast
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path for folder in ("coordstore", "backends", "orchestrator") for path in (ROOT / folder).rglob("*.py")
)
MODULE_MAX = 350
RECIPE_MAX = 150
FUNCTION_MAX = 40
MEDIAN_MAX = 8
LAZY = {"__getattr__", "__dir__"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def length(node: Function, lines: list[str]) -> int:
    """Return the lines of a function that hold code or a comment; its docstring is as long as the truth needs."""
    start, end = node.lineno - 1, node.end_lineno or node.lineno
    first = node.body[0]
    told = range(first.lineno - 1, first.end_lineno or 0) if ast.get_docstring(node) is not None else range(0)
    return sum(bool(lines[line].strip()) for line in range(start, end) if line not in told)


def functions(path: Path) -> Iterator[tuple[str, int]]:
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, Function):
            yield f"{name_of(path)}:{node.lineno} {node.name}", length(node, lines)


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_module_fits_on_a_few_screens(path: Path) -> None:
    written = sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())
    limit = RECIPE_MAX if path.parent.name == "recipes" else MODULE_MAX
    assert written <= limit, f"{written} lines that are not blank, {limit} are allowed: which two ideas are in it?"


def test_no_function_is_longer_than_a_screen() -> None:
    long = [f"{name}: {lines} lines" for path in SOURCES for name, lines in functions(path) if lines > FUNCTION_MAX]
    assert not long, "\n".join(long)


def test_functions_are_short_as_a_rule() -> None:
    assert statistics.median(lines for path in SOURCES for _, lines in functions(path)) <= MEDIAN_MAX


def is_content(node: ast.stmt) -> bool:
    """Tell whether a statement belongs into a table of contents: names, `__all__`, a lazy import, a docstring."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.Expr(value=ast.Constant(value=str())):
            return True
        case ast.Assign(targets=[ast.Name()], value=value) | ast.AnnAssign(target=ast.Name(), value=value):
            return not any(isinstance(part, ast.Call | ast.Lambda) for part in ast.walk(value or ast.Constant(None)))
        case ast.If(test=ast.Name(id="TYPE_CHECKING"), body=body, orelse=[]):
            return all(isinstance(part, ast.Import | ast.ImportFrom) for part in body)
        case ast.FunctionDef(name=name):
            return name in LAZY
    return False


@pytest.mark.parametrize("path", [path for path in SOURCES if path.name == "__init__.py"], ids=name_of)
def test_an_init_file_is_a_table_of_contents(path: Path) -> None:
    logic = [node.lineno for node in ast.parse(path.read_text(encoding="utf-8")).body if not is_content(node)]
    assert not logic, f"{name_of(path)} holds logic in lines {logic}"


@pytest.mark.parametrize("path", [path for path in SOURCES if path.read_text(encoding="utf-8").strip()], ids=name_of)
def test_a_module_opens_with_its_purpose(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), "no sentence of purpose"
