"""Stub agents go wrong in a real `coord run`: each is stopped for its own reason, tried again, and its work is kept."""

from __future__ import annotations

import json
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.run.conftest import Place

pytestmark = pytest.mark.timeout(300)

COORD = str(Path(sysconfig.get_path("scripts")) / "coord")
STUB = """
import json, os, sys, time

task, attempt = os.environ["COORD_AGENT"].split(".")
number = iter(range(1, 10 ** 6))

def say(**found):
    print(json.dumps(found), flush=True)

def assistant(*parts):
    say(type="assistant", message={"content": list(parts)})

def text(what):
    return {"type": "text", "text": what}

def call(command):
    return {"type": "tool_use", "id": str(next(number)), "name": "Bash", "input": {"command": command}}

def result(tool, ok=True):
    part = {"type": "tool_result", "tool_use_id": tool["id"], "content": "x", "is_error": not ok}
    say(type="user", message={"content": [part]})

def work(command, ok=True):
    tool = call(command)
    assistant(tool)
    result(tool, ok)

def write(what="done"):
    open(task + ".txt", "a").write(what + "\\n")

def stall():
    work("ls")
    time.sleep(600)

def mute():
    time.sleep(600)

def tool():
    assistant(call("make"))
    time.sleep(600)

def silence():
    say(type="turn_start")
    say(type="message_start", message={"role": "assistant"})
    time.sleep(600)

def errors():
    work("ls")
    for _ in range(3):
        say(type="system", subtype="api_retry", error_status=500, error="server", attempt=1, max_retries=9)
    time.sleep(600)

def progress():
    for at in range(10 ** 6):
        work(f"cat {at}")
        time.sleep(0.05)

def repeats():
    while True:
        work("ls -la")
        time.sleep(0.1)

def chatter():
    for what in ("I shall", "I would", "I might"):
        assistant(text(what))
        work("nope", ok=False)
    time.sleep(600)

def steps():
    for at in range(11):
        work(f"cat {at}")
        write()
    time.sleep(600)

def nudge():
    for at in range(5):
        work(f"edit {at}")
        write()
    deadline = time.monotonic() + 100
    while time.monotonic() < deadline:
        told = os.popen(os.environ["COORD"] + " agent read-messages").read()
        if told:
            write(told)
            break
        time.sleep(0.2)

def healthy():
    assistant(text("I begin"))
    work("ls")
    write()
    work("pytest", ok=False)
    work("pytest")
    assistant(text("done"))

wrong = globals()[task.partition("-")[0]]
if attempt == "1" or task.endswith("-always"):
    write(f"partial {attempt}") if task.startswith("stall") else None
    wrong()
else:
    write(sys.stdin.read().partition("## About this attempt")[2])
    work("ls")
"""


def stubs(place: Place) -> None:
    """Write the stub and the profiles that run it."""
    program = place.folder / "stub.py"
    program.write_text(STUB)
    rows = [
        f'[agents.{name}]\nargv = ["{sys.executable}", "{program}"]\noutput = "{output}"\n'
        f'env_set = {{COORD = "{COORD}"}}\nlimits = {{deadline = 120}}\n'.replace('{COORD =', '{COORDINATE =')
        for name, output in (("stub", "claude"), ("asks", "pi"))
    ]
    (place.repository / "coord.toml").write_text("\n".join(rows))


def plan(place: Place, tasks: dict[str, dict[str, Any]], **more: Any) -> Path:
    rows = [
        {"id": name, "prompt": f"do {name}", "writes": [f"{name.partition('.')[0]}.txt"], "agent": "stub", **task}
        for name, task in tasks.items()
    ]
    path = place.folder / f"plan{len(list(place.folder.glob('plan*')))}.json"
    path.write_text(json.dumps({"goal": "test", "tasks": rows, **more}))
    return path
