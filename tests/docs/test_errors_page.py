"""Every error has a code, a hint, and a heading in the docs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from coordstore.errors import CoordError, InvalidKey, NoStore
from coordstore_orchestrator.plan.errors import PlanError

ROOT = Path(__file__).parents[2]


def test_the_page_is_what_the_errors_say() -> None:
    script = str(ROOT / "scripts" / "error_docs.py")
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.req("C2")
def test_every_part_says_what_helps() -> None:
    parts = (ROOT / "docs" / "errors.md").read_text(encoding="utf-8").split("\n## ")[1:]
    assert len(parts) > 40
    for part in parts:
        assert re.match(r"[a-z]+(-[a-z]+)*\n", part), part[:40]
        assert re.search(r"^- What helps: [A-Z`].*\.$", part, re.MULTILINE), part[:40]


@pytest.mark.parametrize(("error", "code"), [(InvalidKey, "invalid-key"), (NoStore, "no-store"), (PlanError, "plan")])
def test_a_code_is_the_error_s_name(error: type[CoordError], code: str) -> None:
    assert error.code() == code
