"""`python -m coordstore.testing.history` runs against a URL, over processes that are killed, and says what came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore.testing.history.__main__ import main
from coordstore.testing.history.record import load

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.req("S10")]


def test_runs_are_shown_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", "memory:history-{run}", "--runs", "2", "--operations", "300", "--seed", "5"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split()[:3] == ["seed", "ok", "failed"]
    assert [line.split()[0] for line in lines[1:3]] == ["5", "6"]
    assert lines[-1] == "2 runs, 0 failed"


def test_a_run_that_is_too_slow_is_void_and_kept(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    argv = ["--url", "memory:slow-{run}", "--operations", "100", "--least", "1e9", "--keep", str(tmp_path / "kept")]
    assert main(argv) == 1
    assert "void" in capsys.readouterr().out
    assert len(load([tmp_path / "kept" / "history-0.jsonl"])) > 100


def test_several_runs_need_several_stores(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--url", "memory:one", "--runs", "2"])
    assert "{dir}" in capsys.readouterr().err


@pytest.mark.req("S5", "S7")
def test_processes_that_are_killed_leave_a_clean_history(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["--url", "sqlite:{dir}/store.db?durability=process", "--operations", "240", "--seed", "3"]
    status = main([*argv, "--processes", "2", "--kills", "1", "--handles", "1"])
    out = capsys.readouterr().out
    assert status == 0, out
    assert "0 failed" in out
