"""Two sessions on one repository: the second is refused before anything of it exists, or waits for the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess

    from tests.run.conftest import Place


def read_until(process: subprocess.Popen[str], text: str) -> None:
    assert process.stdout is not None
    while text not in (line := process.stdout.readline()):
        assert line, f"it ended before it said {text!r}"


@pytest.mark.req("P2")
def test_a_second_session_that_would_write_the_same_files_is_refused_or_waits(place: Place) -> None:
    gate = place.folder / "gate"
    plan = place.plan({"a": {"sh": f"echo a > a.txt; until test -e {gate}; do sleep 0.05; done"}})
    first = place.start("run", plan, "--session", "one")
    read_until(first, "running")
    second = place.plan({"b": {"writes": ["*.txt"], "sh": "echo b > b.txt"}})
    refused = place.coord("run", second, "--session", "two")
    assert refused.code == 2
    assert "task a of session one may write (by 'a.txt')" in refused.err
    assert '"two"' not in place.coord("inspect", "--json").out
    waiting = place.start("run", second, "--session", "two", "--wait", "60")
    gate.touch()
    told = [process.communicate(timeout=50) for process in (first, waiting)]
    assert [first.returncode, waiting.returncode] == [0, 0], told
