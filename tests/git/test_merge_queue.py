"""What lands of many branches: validated together, the culprits found, the rest kept."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.git.queue import Queue, import_branches, import_files

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.session import SessionView

BRANCHES = 30
FILES = 5_000
ALONE = {"t3", "t14", "t27"}
TOGETHER = {"t9", "t20"}
CHECK = 'test ! -e break && ! { test -e half-t9 && test -e half-t20; } || { echo "broken here"; exit 1; }'


def work(number: int) -> dict[str, str]:
    task = f"t{number}"
    files = {f"package{number}/module{number}.py": f"changed = {number}\n", f"new/{task}.py": f"{number}\n"}
    if task in ALONE:
        files["break"] = "x\n"
    return files | ({f"half-{task}": "x\n"} if task in TOGETHER else {})


@pytest.mark.req("G2", "G1")
@pytest.mark.timeout(300)
async def test_of_thirty_branches_the_five_that_break_are_left_out(
    tmp_path: Path, make_repo: Callable[..., Any], make_world: Any
) -> None:
    """Three break alone (with the same file, so that each has to be found), two only together."""
    repo = make_repo(tmp_path / "user")
    import_files(repo.path, {f"package{n // 50}/module{n % 50}.py": f"{n}\n" for n in range(FILES)})
    assert len(repo.git("ls-files").split("\n")) == FILES
    before = repo.fingerprint()
    world = await make_world(tmp_path, repo).open()
    commits = import_branches(world.session.agents_path, world.base, {f"t{n}.1": work(n) for n in range(BRANCHES)})
    async with Queue(world).open({f"t{n}": {} for n in range(BRANCHES)}) as queue:
        for number in range(BRANCHES):
            await queue.complete(f"t{number}", commits[f"t{number}.1"])
        merged = await queue.merge(*commits)
        assert all(merged.merged(task).get("merged") for task in merged.tasks if task not in ALONE)
        async with queue.validator(tmp_path / "state", [CHECK], os.environ, 4) as validator:
            view = await queue.land(validator, 4)
            assert validator.count <= 5 * math.ceil(math.log2(BRANCHES)) + 2 * 5 + 1
    assert left_out(view) == ALONE | TOGETHER
    names = repo.at(world.integration.path).git("ls-tree", "-r", "--name-only", view.tip or "").split("\n")
    assert {name for name in names if name.startswith("new/")} == {
        f"new/t{n}.py" for n in range(BRANCHES) if f"t{n}" not in ALONE | TOGETHER
    }
    assert "fails only with it and t20 together" in str(view.left_out("t9"))
    log = Path(view.merged("t3")["log"])
    assert "broken here" in "".join(file.read_text() for file in log.iterdir())
    assert not list((tmp_path / "state/validate").iterdir())
    assert repo.fingerprint() == before


def left_out(view: SessionView) -> set[str]:
    return {task for task in view.tasks if not view.merged(task).get("merged")}
