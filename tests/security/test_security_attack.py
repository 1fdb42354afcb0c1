"""Another user attacks the folders of runs while these go on: COORD_ATTACK_SECONDS says for how long, 10 in full."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from tests.run.conftest import Place
from tests.security.nobody import NOBODY, can_be_nobody

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not can_be_nobody(), reason="declared: only root can start another user's program"),
]

SECONDS = float(os.environ.get("COORD_ATTACK_SECONDS", "1.5"))
REFUSED = 4
AGENT = "echo $COORD_AGENT_SOCKET > {task}.txt; sleep 0.1"


class Attacker:
    """The attacking program; entered, it is at work."""

    def __init__(self, folder: Path, name: Path, own: Path) -> None:
        self._argv = [sys.executable, str(Path(__file__).with_name("attack.py")), str(folder), str(name), str(own)]
        self.told: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        return self

    def name(self, *paths: Path) -> None:
        """Say what to attack, as somebody would who knows where things lie."""
        assert self._process.stdin is not None
        self._process.stdin.writelines(f"{path}\n" for path in paths)
        self._process.stdin.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        out, _ = self._process.communicate(timeout=60)
        self.told = json.loads(out)


@pytest.fixture
def place() -> Iterator[Place]:
    """Give a place whose state lies where everybody may put something, as in a temporary folder."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        place = Place(Path(name))
        everybodys = place.folder / "tmp"
        everybodys.mkdir()
        everybodys.chmod(0o1777)
        place.env["COORD_HOME"] = str(everybodys / "state")
        yield place


def known(folder: Path, done: int, coming: int) -> list[Path]:
    """Return the paths of a session that is over, and the same of one to come."""
    paths = list(folder.rglob("*"))
    return [*paths, *(Path(str(path).replace(f"/s{done}/", f"/s{coming}/")) for path in paths)]


@pytest.mark.security(7, 8, 11)
def test_another_user_who_attacks_all_the_time_disturbs_nothing(place: Place) -> None:
    everybodys, own = place.folder / "tmp", place.folder / "own"
    state, fresh = everybodys / "state", everybodys / "fresh"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    plan = place.plan({task: {"sh": AGENT.format(task=task)} for task in ("x", "y")})
    assert place.coord("run", plan, "--session", "s0").code == 0
    until, turn = time.monotonic() + SECONDS, 0
    with Attacker(everybodys, fresh, own) as attacker:
        while not turn or time.monotonic() < until:
            turn += 1
            attacker.name(*known(state, turn - 1, turn), Path(place.show("x.txt", f"s{turn - 1}").strip()))
            done = place.coord("run", plan, "--session", f"s{turn}")
            assert done.code == 0, done
            done = place.coord("run", plan, "--session", f"fresh{turn}", COORD_HOME=str(fresh))
            assert done.code in (0, REFUSED), done
            if done.code == 0:
                assert theirs(fresh) == []
                shutil.rmtree(fresh)
    assert attacker.told["worked"] == []
    assert attacker.told["tried"] > 1000
    assert theirs(state) == []
    assert [path for path in own.rglob("*") if path.lstat().st_uid == os.geteuid()] == [], (
        "written into another's folder"
    )


def theirs(folder: Path) -> list[Path]:
    """Return what there is that is not ours, or open to others."""
    found = {path: path.lstat() for path in (folder, *folder.rglob("*"))}
    return [
        path
        for path, status in found.items()
        if status.st_uid != os.geteuid() or (stat.S_IMODE(status.st_mode) & 0o077 and not path.is_symlink())
    ]


@pytest.mark.security(7)
def test_the_attack_would_tell_what_works(place: Place) -> None:
    """The program is no blunt one: what is open to it is found out and told."""
    everybodys, own = place.folder / "tmp", place.folder / "own"
    own.mkdir()
    os.chown(own, NOBODY, NOBODY)
    ours = everybodys / "ours"
    ours.mkdir()
    ours.chmod(0o777)
    (ours / "file").touch()
    with Attacker(everybodys, everybodys / "fresh", own) as attacker:
        while not (ours / "planted").exists():
            time.sleep(0.01)
    assert {f"create {ours}", f"read {ours}"} <= set(attacker.told["worked"])
    assert any(what.endswith(f" {ours}/file") for what in attacker.told["worked"])
