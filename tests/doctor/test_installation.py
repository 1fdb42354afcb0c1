"""What `coord doctor` says of the installation, whatever the store."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

import pytest

from coordstore.cli import surroundings
from coordstore_orchestrator.checkup import agents, limits

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore.checkup import Finding


def of(check: str) -> list[Finding]:
    return [found for found in surroundings.about_installation() if found.check == check]


@pytest.mark.req("C2")
def test_the_whole_installation_is_looked_at() -> None:
    checks = {found.check for found in surroundings.about_installation()}
    assert {"state folder", "limits", "agents", "worker limit"} <= checks
    assert all(found.advice for found in surroundings.about_installation() if found.level != "ok")


def test_a_state_folder_that_others_may_write_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("COORD_HOME", str(tmp_path / "home" / "state"))
    assert [found.level for found in of("state folder")] == ["ok"]
    (tmp_path / "home" / "state").mkdir(parents=True)
    (tmp_path / "home" / "state").chmod(0o777)
    (found,) = of("state folder")
    assert found.level == "warning"
    assert found.advice.startswith("chmod go-w ")
    assert not (tmp_path / "home" / "state" / "x").exists()


def test_few_open_files_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (64, 128))
    (found,) = of("limits")
    assert (found.level, found.advice) == ("warning", "ulimit -n 128: agents need more")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (-1, -1))
    assert [found.level for found in of("limits")] == ["ok"]


@pytest.mark.parametrize(("value", "level"), [(None, "ok"), ("3", "ok"), ("0", "problem"), ("many", "problem")])
def test_a_worker_limit_that_is_none_is_a_problem(
    monkeypatch: pytest.MonkeyPatch, value: str | None, level: str
) -> None:
    if value is not None:
        monkeypatch.setenv("COORD_WORKER_LIMIT", value)
    assert [found.level for found in limits()] == [level]


def test_an_agent_that_has_shown_nothing_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep + os.environ["PATH"])
    program = tmp_path / "claude"
    program.write_text("#!/bin/sh\necho 1.0\n")
    program.chmod(0o755)
    found = [each for each in agents() if each.level == "warning"]
    assert [each.advice for each in found if "claude" in each.text] == ["coord profiles probe claude"]
