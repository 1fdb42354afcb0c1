"""Landlock: a confined process writes where it may and nowhere else, and so does all that it starts."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.agents import Profile
from coordstore_orchestrator.worker.agentrun import AgentRun
from coordstore_orchestrator.worker.process import Capture, landlock

if TYPE_CHECKING:
    from coordstore.session import events
    from tests.process.bench import Bench

WITHOUT = pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock")


@pytest.mark.security(5)
@WITHOUT
@pytest.mark.req("W2")
async def test_a_confined_process_writes_only_where_it_may(bench: Bench, tmp_path: Path) -> None:
    inside, outside, file = tmp_path / "inside", tmp_path / "outside", tmp_path / "file"
    for folder in (inside, outside):
        folder.mkdir()
    (outside / "old").write_text("mine")
    file.write_text("")
    script = f"""
        echo x > here && mkdir d && mv here d/there && echo ok
        echo x > {file} && echo file
        echo x > /dev/null && echo null
        (setsid sh -c 'echo x > {outside}/new' || echo new refused) 2>/dev/null
        (echo x > {outside}/old || echo old refused) 2>/dev/null
        rm {outside}/old 2>/dev/null || echo remove refused
        mv d/there {outside}/there 2>/dev/null || echo move refused
        {sys.executable} -c 'import os; os.truncate("{outside}/old", 0)' 2>/dev/null || echo truncate refused
        cat {outside}/old
    """
    capture = Capture(tmp_path / "logs")
    process = await bench.guardian.spawn(
        ["sh", "-c", script],
        cwd=inside,
        env={"PATH": "/usr/bin:/bin"},
        capture=capture,
        label="confined",
        writable=[inside, file, tmp_path / "absent", Path("/dev")],
    )
    await process.wait()
    said = (await asyncio.to_thread(capture.read)).decode().splitlines()
    refused = [f"{what} refused" for what in ("new", "old", "remove", "move", "truncate")]
    assert said == ["ok", "file", "null", *refused, "mine"]
    assert [path.name for path in outside.iterdir()] == ["old"]


@pytest.mark.security(5)
@pytest.mark.parametrize("has_landlock", [True, False])
def test_without_landlock_an_agent_runs_unconfined_and_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_landlock: bool
) -> None:
    class Taker:
        told: list[events.Event]

        def take(self, told: list[events.Event]) -> None:
            self.told = told

    monkeypatch.setattr(landlock, "abi", lambda: int(has_landlock))
    nothing: Any = None
    run = AgentRun(
        nothing,
        nothing,
        worktree=tmp_path / "tree",
        logs=tmp_path,
        prompt=tmp_path / "prompt.md",
        stop=nothing,
        files=nothing,
        label="t.1",
        repository=tmp_path / "agents.git",
        post=nothing,
    )
    taker: Any = Taker()
    bound = Profile(name="bound", argv=("x",), confine=("~/.x", "/data"))
    found = run._writable(bound, {"HOME": "/h", "TMPDIR": "/t"}, taker)
    if has_landlock:
        assert {tmp_path / "tree", tmp_path / "agents.git", Path("/h/.x"), Path("/data"), Path("/t")} <= set(found)
    else:
        assert found == []
        assert "no Landlock" in str(taker.told)
    assert run._writable(Profile(name="free", argv=("x",)), {}, taker) == []
