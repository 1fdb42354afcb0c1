"""What lies in the repository belongs there, and its own tools do what they say."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In pieces, so that this file passes its own test.
FOREIGN = {
    "a path of one person's machine": re.compile(r"(?<![\w.~$}-])/(?:" + "wo" + r"rk/|home/[a-z]|Users/[A-Za-z])"),
    "the host of a package index": re.compile("pypi" + r"\.org|pythonhosted" + r"\.org|registry\.npm" + "js"),
    "a conflict marker": re.compile("^(?:" + "<" * 7 + "|" + ">" * 7 + ")", re.MULTILINE),
}


def texts() -> dict[str, str]:
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(argv, cwd=ROOT, capture_output=True, check=True)
    found = {}
    for name in listed.stdout.decode().split("\0"):
        path = ROOT / name
        if path.is_file() and b"\0" not in (data := path.read_bytes()):
            found[name] = data.decode("utf-8", "replace")
    return found


@pytest.mark.parametrize("what", FOREIGN)
def test_nothing_foreign_lies_here(what: str) -> None:
    hits = [
        f"{name}:{text.count(chr(10), 0, hit.start()) + 1}"
        for name, text in texts().items()
        for hit in FOREIGN[what].finditer(text)
    ]
    assert not hits, f"{what}: {', '.join(hits)}"


def test_fragments_have_names_that_towncrier_takes() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["towncrier"]
    kinds = "|".join(kind["directory"] for kind in settings["type"])
    wanted = re.compile(rf"(?:\d+|\+[a-z0-9-]+)\.(?:{kinds})(?:\.\d+)?\.md")
    names = {path.name for path in (ROOT / "changelog.d").iterdir()} - {"README.md"}
    assert [name for name in sorted(names) if not wanted.fullmatch(name)] == []


def test_decision_pages_are_numbered_without_a_gap() -> None:
    pages = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(name[:4]) for name in pages] == list(range(1, len(pages) + 1))


def test_the_requirements_table_counts_marks_on_functions_classes_and_modules(tmp_path: Path) -> None:
    tests = tmp_path / "tests"
    tests.mkdir()
    (tests / "test_a.py").write_text(
        "import pytest\npytestmark = [pytest.mark.req('S1')]\n"
        "@pytest.mark.req('S2', 'S3')\ndef test_one(): ...\n"
        "@pytest.mark.req('S2')\nclass TestMany:\n    async def test_two(self): ...\n    def helper(self): ...\n"
    )
    code = (
        "import pathlib, requirements_table as table\n"
        "print({name: dict(files) for name, files in table.collect(pathlib.Path('.')).items()})"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT / "scripts")},
        capture_output=True,
        text=True,
        check=True,
    )
    counted = done.stdout.strip()
    assert all(each in counted for each in ("'S1': {'tests/test_a.py': 2}", "'S2': {'tests/test_a.py': 2}"))
    assert "'S3': {'tests/test_a.py': 1}" in counted
