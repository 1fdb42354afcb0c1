"""A confined agent works in its worktree and commits; checkout, home and other worktrees are out of its reach."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from coordstore_orchestrator.worker.process import landlock

if TYPE_CHECKING:
    from tests.run.conftest import Place

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(landlock.abi() == 0, reason="this kernel has no Landlock"),
]

SCRIPT = """
mkdir -p sub && echo x > t.txt && git add t.txt && git commit -qm mine || exit 9
for path in {repository}/a.txt {home}/canary ../other $COORD_PROMPT_FILE {extra}/y; do
  (echo x >> $path) 2>/dev/null && echo wrote $path
done
echo x > {extra}/ok/z && exit 0
"""


@pytest.mark.security(5)
@pytest.mark.req("W2", "G1")
def test_a_confined_agent_writes_to_its_worktree_and_branch_only(place: Place) -> None:
    extra = place.folder / "extra"
    (extra / "ok").mkdir(parents=True)
    script = place.folder / "agent.sh"
    script.write_text(SCRIPT.format(repository=place.repository, home=place.folder, extra=extra))
    (place.repository / "coord.toml").write_text(
        f'[agents.bound]\nargv = ["sh", "{script}"]\nconfine = ["{extra}/ok"]\nenv_set = {{TMPDIR = "{extra}/ok"}}\n'
    )
    plan = place.folder / "plan.json"
    task = {"id": "t", "prompt": "x", "writes": ["t.txt"], "agent": "bound"}
    plan.write_text(json.dumps({"goal": "test", "tasks": [task]}))
    before = place.untouched()
    done = place.run(plan)
    assert done.code == 0, (done, place.tasks())
    (log,) = place.folder.glob("state/*/sessions/s/logs/t.1/stdout.log")
    assert log.read_text() == ""
    assert place.untouched() == before
    assert place.show("t.txt") == "x\n"
    assert (extra / "ok" / "z").read_text() == "x\n"
