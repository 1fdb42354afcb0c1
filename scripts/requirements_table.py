"""Write docs/requirements.md from docs/requirements.toml and the `req` marks on the tests, or check it.

    python scripts/requirements_table.py            write
    python scripts/requirements_table.py --check    exit 1 when the page is not what would be written

Marks are read from the syntax tree, so nothing is imported: on a test, on its class, or as `pytestmark`.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from collections import Counter, defaultdict
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "docs" / "requirements.toml"
PAGE = ROOT / "docs" / "requirements.md"
TESTS = ("tests", "coordstore/testing")

HEAD = """\
# What the system must do

Generated from [requirements.toml](requirements.toml) and the `req` marks on the tests: `make docs` writes it,
`make lint` checks it. Each requirement stands with the files whose tests show it and how many they are.
"""


def ids_in(expressions: Iterable[ast.expr]) -> set[str]:
    """Return the ids of all ``….req("S1", …)`` calls within the expressions."""
    calls = (node for expression in expressions for node in ast.walk(expression) if isinstance(node, ast.Call))
    named = (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "req")
    return {str(word.value) for call in named for word in call.args if isinstance(word, ast.Constant)}


def marks_of(body: Iterable[ast.stmt]) -> set[str]:
    """Return the ids that a ``pytestmark = …`` statement gives to everything in a body."""
    assigned = (statement for statement in body if isinstance(statement, ast.Assign))
    return ids_in(
        statement.value
        for statement in assigned
        if any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in statement.targets)
    )


def marked(body: list[ast.stmt], inherited: frozenset[str] = frozenset()) -> Iterator[tuple[str, frozenset[str]]]:
    """Yield each test of a body, classes included, with the ids that it shows."""
    outer = inherited | marks_of(body)
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from marked(node.body, outer | ids_in(node.decorator_list))
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test"):
            yield node.name, outer | ids_in(node.decorator_list)


def collect(root: Path) -> dict[str, Counter[str]]:
    """Return for each id the files that show it, with the number of their tests."""
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for path in sorted(path for folder in TESTS for path in (root / folder).rglob("*.py")):
        for _, ids in marked(ast.parse(path.read_text(encoding="utf-8")).body):
            for requirement in ids:
                found[requirement][path.relative_to(root).as_posix()] += 1
    return found


def render(sections: dict[str, dict[str, str]], found: dict[str, Counter[str]]) -> str:
    """Return the page.

    Raises:
        SystemExit: A test cites an id that the source does not have.
    """
    known = {name for section in sections.values() for name in section if name != "title"}
    if unknown := sorted(set(found) - known):
        where = ", ".join(sorted({path for name in unknown for path in found[name]}))
        sys.exit(f"unknown requirement {', '.join(unknown)} in {where}: cite an id of {SOURCE.relative_to(ROOT)}")
    open_ones = sum(name not in found for name in known)
    lines = [HEAD, f"{len(known) - open_ones} of {len(known)} have a test; the others wait for theirs."]
    for section in sections.values():
        lines += ["", f"## {section['title']}", "", "| id | what | shown by |", "|---|---|---|"]
        lines += [
            f"| {name} | {text} | {shown(found.get(name))} |" for name, text in section.items() if name != "title"
        ]
    return "\n".join(lines) + "\n"


def shown(files: Counter[str] | None) -> str:
    """Return the last column of a row."""
    if not files:
        return "—"
    return "<br>".join(f"[{path}](../{path}) ({count})" for path, count in sorted(files.items()))


def main(arguments: list[str]) -> int:
    """Write or check the page; return the exit status."""
    page = render(tomllib.loads(SOURCE.read_text(encoding="utf-8")), collect(ROOT))
    if arguments != ["--check"]:
        PAGE.write_text(page, encoding="utf-8")
    elif not PAGE.exists() or PAGE.read_text(encoding="utf-8") != page:
        print(f"{PAGE.relative_to(ROOT)} is not up to date: run `make docs` and commit it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
