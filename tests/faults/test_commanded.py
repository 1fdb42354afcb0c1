"""What judges a session whose orchestrator was killed sees work done twice, and work that is not there."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.faults.commanded import PATIENCE, Scene

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
