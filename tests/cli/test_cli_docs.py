"""The page about the command line has every command, and is what the commands say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from coordstore.cli.main import BUILT_IN

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.req("C2")
def test_the_page_is_what_the_commands_say() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "cli_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, check=False, text=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_command_has_a_heading(name: str) -> None:
    assert re.search(rf"^## coord {name}$", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
