"""Every item of the security list has a test that carries its number, and no test carries another."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def marked(source: str) -> set[int]:
    """Return the numbers in all ``….security(1, …)`` calls of a module."""
    calls = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call))
    named = (call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "security")
    return {word.value for call in named for word in call.args if isinstance(word, ast.Constant)}  # type: ignore[misc]  # numbers


def test_each_item_has_its_tests() -> None:
    found: dict[int, set[str]] = defaultdict(set)
    for path in (ROOT / "tests").rglob("*.py"):
        for item in marked(path.read_text(encoding="utf-8")):
            found[item].add(path.name)
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    listed = {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)}
    assert listed == set(range(1, 18))
    assert set(found) == listed, found


def test_numbers_are_found() -> None:
    assert marked("@pytest.mark.security(3, 4)\ndef test_x(): ...\npytestmark = [pytest.mark.security(5)]") == {3, 4, 5}
