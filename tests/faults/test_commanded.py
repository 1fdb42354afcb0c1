"""What judges a session whose orchestrator was killed sees work done twice, and work that is not there."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.faults.commanded import CALM, PATIENCE, Scene

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.req("M12")
@pytest.mark.timeout(300)
def test_work_done_twice_and_lost_work_are_seen(tmp_path: Path) -> None:
    with Scene(tmp_path, f"sqlite:{tmp_path}/shared.db", seed=1, tasks=3, seconds=0.1) as scene:
        assert scene.orchestrate("s").wait(PATIENCE) == 0, scene.said("s")
        assert scene.wrong("s") == []
        whole = scene.tree("s")
        with (tmp_path / "s.ledger").open("a") as ledger:
            ledger.write("begin t0.1\n")
        assert scene.wrong("s") == ["begin t0.1: 2 times"]
        argv = ["git", "-C", str(scene.remote), "update-ref", "refs/heads/coord/s", "coord/s^1"]
        subprocess.run(argv, check=True, capture_output=True)
        assert any("was merged 0 times" in each for each in scene.wrong("s"))
        assert scene.tree("s") != whole


@pytest.mark.req("M12")
def test_the_undisturbed_session_does_the_same(tmp_path: Path) -> None:
    scene = Scene(tmp_path, "", seed=1, tasks=60, seconds=5)
    calm, killed = scene.plan(CALM), scene.plan("killed")
    assert [task["needs"] for task in calm] == [task["needs"] for task in killed]
    assert any(task["needs"] for task in calm)
    assert all("sleep 0.00" in task["agent"]["command"][2] for task in calm)
    assert not any("sleep 0.00" in task["agent"]["command"][2] for task in killed)
