"""Agents that misbehave, all in one run: each gets its verdict, the good one lands, and nothing is left running.

COORD_ROUNDS repeats it, COORD_FLOOD sets how many MB the flood has (1000 for the full figure).
"""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.run.conftest import Place

ROUNDS = int(os.environ.get("COORD_ROUNDS", "1"))
FLOOD = int(os.environ.get("COORD_FLOOD", "40"))
SECRETS = {
    "SOME_API_KEY": "a-plain-value-4711",
    "OPENAI_API_KEY": "sk-" + "a1B2" * 8,
    "GITHUB_TOKEN": "ghp_" + "Ab12" * 9,
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "MY_PASSWORD": "correct horse battery",
    "SLACK_TOKEN": "xoxb-" + "1234567890-abcdef",
    "GOOGLE_API_KEY": "AIza" + "x" * 35,
    "NPM_AUTH": "npm_" + "Z9" * 18,
}
PIECES = """
import os, sys
data = "".join(f"{name}={value}\\n" for name, value in os.environ.items()).encode()
for at in range(0, len(data), 3):
    os.write(1, data[at:at + 3])
open("leaks.txt", "w").write(str(sorted(os.environ)))
"""
TRAPS = """
touch canary-made-by-the-agent; rm canary-made-by-the-agent
dir=$(git rev-parse --git-common-dir)
for name in pre-commit post-commit post-checkout reference-transaction post-merge update pre-receive; do
  mkdir -p $dir/hooks
  printf '#!/bin/sh\\ntouch CANARY\\n' > $dir/hooks/$name
  chmod +x $dir/hooks/$name
done
for key in core.fsmonitor filter.x.clean filter.x.smudge diff.x.textconv merge.x.driver; do
  git config $key 'touch CANARY'
done
for key in diff.external core.pager core.sshCommand gpg.program alias.status credential.helper; do
  git config $key 'touch CANARY'
done
git config core.hooksPath $dir/hooks
echo traps > traps.txt
"""


def stubs(canary: Path) -> dict[str, tuple[dict[str, Any], str | None]]:
    """Return each agent's task, and its verdict (None: it is good)."""
    python = sys.executable
    twice = "os.fork() and os._exit(0); os.setsid(); os.fork() and os._exit(0)"
    detach = f"{python} -c 'import os, time; {twice}; time.sleep(600)'"
    dd = "head -c 1000000 /dev/zero | tr '\\0' 'x'"
    return {
        "good": ({}, None),
        "hangs": ({"sh": "exec sleep 600", "limits": {"idle": 1.5}}, "stopped after 1.5 s without a sign of life"),
        "floods": ({"sh": f"for i in $(seq {FLOOD}); do {dd}; done; echo x > floods.txt"}, None),
        "mute": ({"sh": "exec >&- 2>&-; echo x > mute.txt"}, None),
        "daemon": ({"sh": f"{detach} & echo x > daemon.txt"}, None),
        "nothing": ({"sh": "echo 'All tests pass, I am done!'"}, "its agent exited with status 0 but changed nothing"),
        "liar": (
            {"sh": "echo x > liar.txt; echo pass", "checks": ["test -e proof"]},
            "check failed: test -e proof: no output",
        ),
        "strays": (
            {"sh": "echo x > strays.txt; echo x > elsewhere.txt"},
            "refused: 'elsewhere.txt' is outside the task's write scope",
        ),
        "traps": ({"sh": TRAPS.replace("CANARY", str(canary))}, None),
        "leaks": ({}, None),  # by the profile below, which lets it see the secrets
        "stubborn": (
            {"sh": "trap '' TERM INT HUP; while :; do sleep 600; done", "limits": {"deadline": 1}},
            "stopped at its deadline of 1 s",
        ),
        "bomb": ({"sh": "for i in $(seq 100); do (trap '' TERM; sleep 600) & done; echo x > bomb.txt"}, None),
        "steps": (
            {"sh": "while :; do echo again; sleep 0.2; done", "limits": {"steps": 1, "deadline": 50}},
            "stopped after its limit of 1 steps",
        ),
        "silent": ({"sh": "exit 0", "writes": []}, "its agent exited with status 0 but told nothing"),
    }


def alive(place: Place) -> list[str]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            environ = (entry / "environ").read_bytes()
            if b"COORD_AGENT=" in environ and os.fsencode(place.folder) in environ:
                found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return found


@pytest.mark.security(4, 8, 9)
@pytest.mark.req("T5", "W3", "W6", "M6", "M9", "M10", "G4")
@pytest.mark.timeout(180 * ROUNDS)
@pytest.mark.parametrize("number", range(ROUNDS))
def test_each_gets_its_verdict_and_nothing_is_left(place: Place, number: int) -> None:
    canary = place.folder / "canary"
    family = stubs(canary)
    program = place.folder / "leak.py"
    program.write_text(PIECES)
    (place.repository / "coord.toml").write_text(
        f'[agents.leaky]\nargv = ["{sys.executable}", "{program}"]\nenv_allow = {json.dumps(list(SECRETS))}\n'
    )
    before = place.untouched()
    plan = place.plan({name: task for name, (task, _) in family.items()})
    data = json.loads(plan.read_text())
    next(task for task in data["tasks"] if task["id"] == "leaks")["agent"] = "leaky"
    plan.write_text(json.dumps(data))
    os.umask(0)
    try:
        process = place.start("run", plan, "--session", "s", "--slots", "16", **SECRETS)
    finally:
        os.umask(0o022)
    out, err = process.communicate(timeout=170)
    tasks = place.tasks()
    found = {name: None if task["state"] == "completed" else task["reason"] for name, task in tasks.items()}
    assert found == {name: verdict for name, (_, verdict) in family.items()}, (out, err)
    assert process.returncode == 3
    landed = {name for name, (_, verdict) in family.items() if verdict is None}
    assert {name for name, task in tasks.items() if task["landed"]} == landed
    assert alive(place) == []
    assert not canary.exists()
    assert place.untouched() == before
    assert set(SECRETS) <= set(re.findall(r"\w+", place.show("leaks.txt")))
    events = place.coord("events", "s").out
    assert "sleep 600" in events  # what was left behind is told of
    (log,) = place.folder.glob("state/*/sessions/s/logs/leaks.1/stdout.log")
    assert b"[redacted]" in log.read_bytes()
    kept = [path for path in place.folder.glob("state/**/*") if path.is_file() and not path.is_symlink()]
    for path in kept:
        data = path.read_bytes()
        assert not [name for name, value in SECRETS.items() if value.encode() in data], path
    private = [path for path in place.folder.glob("state/*/*") if path.name != "sessions"]
    assert not [
        path for path in [*private, *place.folder.glob("state/*/sessions/s/logs/**/*")] if _open_to_others(path)
    ]
    sizes = [path.stat().st_size for path in place.folder.glob("state/*/sessions/s/logs/floods.1/*.log")]
    assert sum(sizes) <= 12_000_000


def _open_to_others(path: Path) -> bool:
    return bool(stat.S_IMODE(path.lstat().st_mode) & 0o077) and not path.is_symlink()
