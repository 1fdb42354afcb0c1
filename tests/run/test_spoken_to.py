"""An agent that reads messages on its stdin while it works is told its task there, and then what is sent to it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.run.test_talking import state, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.run.conftest import Place

pytestmark = pytest.mark.timeout(300)

STUB = """\
import json, os, sys
from pathlib import Path

def say(kind, **more):
    print(json.dumps({"type": kind, **more}), flush=True)

def step(*parts):
    say("assistant", message={"content": [*parts]})

def hear():
    line = sys.stdin.readline()
    return json.loads(line)["message"]["content"][0]["text"] if line else None

task = os.environ["COORD_TASK"]
prompt = hear()
assert prompt.encode() == Path(os.environ["COORD_PROMPT_FILE"]).read_bytes(), prompt
if task == "reminded":
    for n in range(6):
        step({"type": "text", "text": str(n)}, {"type": "tool_use", "id": f"c{n}", "name": "sh", "input": {"n": n}})
        say("user", message={"content": [{"type": "tool_result", "tool_use_id": f"c{n}", "content": "ok"}]})
step({"type": "text", "text": "I listen"})
said = hear() if task != "large" else str(len(prompt))
Path(f"{task}.txt").write_text(said + "\\n")
say("result", subtype="success", is_error=False, result="x" * (3_000_000 if task == "large" else 1))
rest = hear()
assert rest is None, rest
"""


def plan(place: Place, tasks: dict[str, dict[str, Any]]) -> Path:
    program = place.folder / "stub.py"
    program.write_text(STUB)
    argv = json.dumps([sys.executable, str(program), "--input-format", "stream-json"])
    (place.repository / "coord.toml").write_text(
        f'[agents.hears]\nargv = {argv}\noutput = "claude"\nlimits = {{deadline = 60, attempts = 1}}\n'
    )
    rows = [
        {"id": name, "prompt": f"do {name}", "writes": [f"{name}.txt"], "agent": "hears", **task}
        for name, task in tasks.items()
    ]
    path = place.folder / "plan.json"
    path.write_text(json.dumps({"goal": "test", "tasks": rows}))
    return path


@pytest.mark.req("R7", "M7")
def test_it_hears_what_is_sent_to_it_and_its_input_ends_with_its_last_word(place: Place) -> None:
    tasks: dict[str, dict[str, Any]] = {"sent": {}, "reminded": {}, "large": {"prompt": "x" * 500_000}}
    run = place.start("run", plan(place, tasks), "--session", "s", "--allow-unproven")
    until(lambda: state(place, "sent") == "running")
    assert place.coord("send", "s", "sent", "mind the gap").code == 0
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, (out, err, place.tasks())
    assert place.show("sent.txt") == "message from person: mind the gap\n"
    assert "rounds without mark_complete or mark_failed" in place.show("reminded.txt")
    assert int(place.show("large.txt")) > 500_000


@pytest.mark.req("R7")
def test_a_command_without_that_option_reads_its_prompt_as_it_is(place: Place) -> None:
    path = plan(place, {"t": {}})
    (place.repository / "coord.toml").write_text(
        '[agents.hears]\nextends = "claude"\nargv = ["sh", "-c", "cat > t.txt; echo {}"]\n'
    )
    done = place.run(path, "--allow-unproven")
    assert done.code == 0, (done, place.tasks())
    assert place.show("t.txt").startswith("do t\n")
