"""Shell completion, `--quiet` and `--no-color`: what the command line itself brings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import click
import pytest

from coordstore.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHELLS = ("bash", "fish", "zsh")
PROGRAM = [sys.executable, "-c", "from coordstore.cli.main import main; main()"]


def asked(kind: str, words: str, at: str, **env: str) -> list[str]:
    """Return what the completion of a shell is offered."""
    asking = {"_COORD_COMPLETE": f"{kind}_complete", "COMP_WORDS": words, "COMP_CWORD": at}
    done = subprocess.run(
        PROGRAM, env={**os.environ, **asking, **env}, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stderr == ""
    return [word for line in done.stdout.splitlines() for word in line.split(",") if word]


@pytest.mark.req("C2")
@pytest.mark.parametrize("shell", SHELLS)
def test_commands_sessions_and_agents_are_completed(tmp_path: Path, story: Callable[..., None], shell: str) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    story(url)
    last = {"bash": "1", "zsh": "1", "fish": "ins"}[shell]
    found = [word.split("\t")[0] for word in asked(shell, "coord ins", last)]
    assert "inspect" in found
    last = {"bash": "2", "zsh": "2", "fish": "sh"}[shell]
    assert "shop" in asked(shell, "coord inspect sh", last, COORD_STORE=url)
    last = {"bash": "2", "zsh": "2", "fish": "tests"}[shell]
    assert {"tests", "tests.1", "tests.2"} <= set(asked(shell, "coord logs tests", last, COORD_STORE=url))


@pytest.mark.parametrize("url", ["nonsense", "sqlite:/nowhere/at/all", "etcd://127.0.0.1:1/x?timeout=0.2"])
def test_where_nothing_can_be_looked_up_nothing_is_offered(url: str) -> None:
    assert asked("bash", "coord inspect sh", "2", COORD_STORE=url) == []


@pytest.mark.req("C2")
@pytest.mark.parametrize("shell", SHELLS)
def test_what_is_printed_is_a_program_of_that_shell(coord: Callable[..., Any], tmp_path: Path, shell: str) -> None:
    program = shutil.which(shell)
    done = coord("completion", shell)
    assert done.code == 0
    assert "_COORD_COMPLETE" in done.out
    if program is None:
        pytest.skip(f"{shell} is not installed")
    (tmp_path / "script").write_text(done.out)
    flag = "--no-execute" if shell == "fish" else "-n"
    subprocess.run([program, flag, str(tmp_path / "script")], check=True, timeout=60)


def test_quiet_leaves_out_notices_but_no_error(tmp_path: Path, story: Callable[..., None], coord: Any) -> None:
    url = f"memory:{tmp_path}"
    story(url, name="one")
    story(url, name="two")
    assert "the newest of 2 sessions is taken" in coord("--store", url, "events").err
    told = coord("--store", url, "--quiet", "events")
    assert (told.code, told.err) == (0, "")
    assert told.out
    assert "[no-such-session]" in coord("--store", url, "--quiet", "events", "three").err


def test_no_color_holds_for_every_command(coord: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | None] = []
    monkeypatch.setattr(cli, "get_command", lambda *_: click.Command("x", callback=lambda: seen.append(colour())))
    coord("--no-color", "x")
    coord("x")
    assert seen == ["1", None]


def colour() -> str | None:
    return os.environ.get("NO_COLOR")
