"""Real agents under `coord run`, their model played by a script: work that lands, and every way to go wrong.

Not collected by `make test`: it needs the programs of `make test-agents`, whose folder COORD_TEST_AGENTS names.
"""

from __future__ import annotations

import json
import os
import re
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.modelserver.script import Call, Fail, Run, Say, Script, Step, Write
from tests.modelserver.server import ModelServer
from tests.run.conftest import Place
from tests.run.test_talking import until

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = pytest.mark.timeout(300)

PROGRAMS = Path(os.environ.get("COORD_TEST_AGENTS", ".agents")).absolute()
SUBMIT = Run("echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT")
COORD = str(Path(sysconfig.get_path("scripts")) / "coord")
KEY = "a-key-that-no-service-knows"


@dataclass
class Arena:
    """A repository, a model, and one profile for each program, each with a HOME of its own."""

    place: Place
    model: ModelServer

    def play(self, task: str, *steps: Step) -> None:
        """Script the model of a task's agent, which tells its model the folder it works in, or where its prompt is."""
        ends = SUBMIT if task.startswith("mini") else Say("Done.")
        last = steps[-1] if steps and isinstance(steps[-1], Fail | Say) else ends
        self.model.scripts.append(Script(f"/{task}.1", [*steps, last]))

    def play_for_ever(self, task: str, step: Step) -> None:
        self.model.scripts += [Script(f"/{task}.{attempt}", [step]) for attempt in (1, 2, 3)]

    def run(self, tasks: dict[str, dict[str, Any]]) -> Any:
        process = self.start(tasks)
        out, err = process.communicate(timeout=200)
        return process.returncode, out, err

    def start(self, tasks: dict[str, dict[str, Any]]) -> Any:
        rows = [{"id": name, "prompt": f"do {name}", "writes": [f"{name}.txt"], **task} for name, task in tasks.items()]
        plan = self.place.folder / "plan.json"
        plan.write_text(json.dumps({"goal": "test", "tasks": rows}))
        path = f"{PROGRAMS}/node_modules/.bin:{PROGRAMS}/python/bin:{os.environ['PATH']}"
        return self.place.start("run", plan, "--session", "s", "--allow-unproven", PATH=path)

    def events(self, agent: str) -> list[dict[str, Any]]:
        done = self.place.coord("events", "s", "--json")
        rows = [json.loads(line) for line in done.out.splitlines()]
        return [row for row in rows if agent in json.dumps(row)]

    def alive(self) -> list[str]:
        """Return the processes that know this test's folder."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                environ = (entry / "environ").read_bytes()
                if os.fsencode(self.place.folder) in environ and b"COORD_AGENT=" in environ:
                    found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
            except OSError:
                continue
        return found


@pytest.fixture
def arena(tmp_path: Path) -> Iterator[Arena]:
    assert (PROGRAMS / ".ready").exists(), "run it by `make test-agents`"
    with ModelServer([]) as model:
        place = Place(tmp_path)
        (place.repository / "coord.toml").write_text(_configuration(tmp_path, model.url))
        yield Arena(place, model)


def _configuration(folder: Path, url: str) -> str:
    homes = {name: folder / f"home-{name}" for name in ("codex", "claude", "mini")}
    (homes["codex"] / ".codex").mkdir(parents=True)
    (homes["codex"] / ".codex" / "config.toml").write_text(
        f'model = "fake"\nmodel_provider = "x"\n[model_providers.x]\nname = "x"\nbase_url = "{url}/v1"\n'
        'env_key = "OPENAI_API_KEY"\nwire_api = "responses"\n'
    )
    claude = {
        "HOME": str(homes["claude"]),
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
    }
    mini = {
        "HOME": str(homes["mini"]),
        "OPENAI_API_KEY": KEY,
        "MSWEA_CONFIGURED": "true",
        "MSWEA_SILENT_STARTUP": "1",
        "MSWEA_COST_TRACKING": "ignore_errors",
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    for home in homes.values():
        home.mkdir(exist_ok=True)
    argv = ["mini", "-y", "--exit-immediately", "-c", "mini.yaml", "-c", f"model.model_kwargs.api_base={url}/v1"]
    server = json.dumps({"mcpServers": {"coord": {"command": COORD, "args": ["mcp"]}}})
    speaks = ["claude", "-p", "--output-format", "stream-json", "--verbose", "--dangerously-skip-permissions"]
    tables: dict[str, dict[str, Any]] = {
        "codex": {"env_set": {"HOME": str(homes["codex"]), "OPENAI_API_KEY": KEY}},
        "claude": {"env_set": claude, "model": "claude-sonnet-4-5"},
        "speaker": {
            "extends": "claude",
            "env_set": {**claude, "ENABLE_TOOL_SEARCH": "false"},
            "model": "claude-sonnet-4-5",
            "argv": [*speaks, "--model", "{model}", "--strict-mcp-config", "--mcp-config", server],
        },
        "mini": {
            "env_set": mini,
            "argv": [*argv, "-o", "{trace_file}", "-m", "openai/fake", "-t", "{instruction}"],
        },
    }
    return "\n".join(
        f"[agents.{name}]\n"
        + "\n".join(f"{key} = {_toml(value)}" for key, value in ({"extends": name} | table).items())
        for name, table in tables.items()
    )


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {json.dumps(each)}" for key, each in value.items()) + "}"
    return json.dumps(value)


@pytest.mark.req("W1", "W4", "G1")
def test_three_agents_work_at_the_same_time_and_all_lands(arena: Arena) -> None:
    before = arena.place.untouched()
    for name in ("codex", "claude", "mini"):
        arena.play(name, Write(f"{name}.txt", f"by {name}", delay=1), Run("ls nonexistent"), Run(f"cat {name}.txt"))
    code, out, err = arena.run({name: {"agent": name} for name in ("codex", "claude", "mini")})
    tasks = arena.place.tasks()
    assert code == 0, (out, err, {name: task["reason"] for name, task in tasks.items()})
    for name in tasks:
        assert f"by {name}" in arena.place.show(f"{name}.txt")
        kinds = [row.get("type") or row.get("event", {}).get("type") for row in arena.events(f"{name}.1")]
        assert {"step", "tool_call", "tool_result"} <= set(kinds), (name, kinds)
    (attempts,) = zip(*(task["attempts"] for task in tasks.values()), strict=True)
    assert all(int(attempt["step"]) >= 3 for attempt in attempts)
    assert max(attempt["started"] for attempt in attempts) < min(attempt["ended"] for attempt in attempts)
    assert arena.place.untouched() == before
    assert not arena.alive()
    kept = [path for path in arena.place.folder.glob("state/**/*") if path.is_file()]
    assert not [path for path in kept if KEY.encode() in path.read_bytes()]


GONE_WRONG: dict[str, tuple[dict[str, float], Sequence[Step], str]] = {
    # mini does so many steps between two looks that its loop may be seen before the limit.
    "loops": ({"steps": 4, "deadline": 120}, [Run("ls")], "stopped after its limit of 4 steps|the same tool call"),
    "errors": (
        {"idle": 12, "deadline": 120},
        [Fail(500)],
        "stopped after 12 s without|exited with status|says that|errors in a row",
    ),
    "talks": ({"steps": 4, "deadline": 120}, [Say("Let me think about it.")], "changed nothing|RepeatedFormatError"),
    "refused": ({"idle": 40, "deadline": 120}, [Fail(401)], "did not start: .*does not accept its key"),
}


@pytest.mark.req("T5", "M6", "W3", "W7")
@pytest.mark.parametrize("how", GONE_WRONG)
def test_what_goes_wrong_for_ever_is_ended_with_its_verdict(arena: Arena, how: str) -> None:
    limits, steps, said = GONE_WRONG[how]
    names = ("codex", "claude", "mini")
    for name in names:
        arena.play_for_ever(name, steps[0])
    code, out, err = arena.run({name: {"agent": name, "limits": limits} for name in names})
    tasks = arena.place.tasks()
    assert code == 1, (out, err)
    assert {task["state"] for task in tasks.values()} == {"failed"}
    reasons = {name: task["reason"] for name, task in tasks.items()}
    assert all(re.search(said, reason) for reason in reasons.values()), reasons
    assert not arena.alive()


@pytest.mark.req("T5", "W6")
def test_success_that_is_only_claimed_is_failure(arena: Arena) -> None:
    names = ("codex", "claude", "mini")
    for name in names:
        arena.play(name, Run("true"))
    code, out, err = arena.run({name: {"agent": name, "limits": {"deadline": 120}} for name in names})
    assert code == 1, (out, err)
    reasons = {task["reason"] for task in arena.place.tasks().values()}
    assert reasons == {"its agent exited with status 0 but changed nothing"}
    assert not arena.alive()


@pytest.mark.req("W8")
def test_the_probe_tells_agents_that_can_from_those_that_cannot(arena: Arena) -> None:
    arena.model.scripts.append(Script("/probe.1", [Write("proof.txt", "proved"), SUBMIT, Say("Done.")]))
    path = f"{PROGRAMS}/node_modules/.bin:{PROGRAMS}/python/bin:{os.environ['PATH']}"
    done = arena.place.coord("profiles", "probe", "codex", "claude", "mini", PATH=path)
    assert done.code == 0, done
    assert done.out.count(": proven (") == 3
    arena.model.scripts[:] = [Script("/probe.1", [Say("I have written the file.")])]
    assert "codex: failed: its agent exited" in arena.place.coord("profiles", "probe", "codex", PATH=path).out


@pytest.mark.req("R7")
def test_an_agent_hears_what_is_sent_to_it_while_it_works(arena: Arena) -> None:
    arena.model.scripts.append(Script("mind the gap", [SUBMIT, Write("claude.txt", "heard"), Say("Done.")]))
    arena.play("claude", Run("sleep 8"), Write("claude.txt", "deaf"))
    run = arena.start({"claude": {"agent": "claude"}})
    until(lambda: bool(arena.model.asked))
    assert arena.place.coord("send", "s", "claude", "mind the gap").code == 0
    out, err = run.communicate(timeout=200)
    assert run.returncode == 0, (out, err, arena.place.tasks())
    assert arena.place.show("claude.txt").strip() == "heard"
    assert not arena.alive()


@pytest.mark.req("W5", "T4", "C2")
def test_an_agent_reports_delegates_and_awaits_through_coord_mcp(arena: Arena) -> None:
    part = {"prompt": "write the part", "writes": ["part.txt"], "name": "part"}
    arena.play(
        "t",
        Call("report_progress", {"status": "read it", "next_steps": "have the part written"}),
        Write("t.txt", "whole"),
        Call("mark_complete", {"summary": "too early"}),
        Call("delegate", part),
        Call("await_tasks"),
        Run("git merge -q -m took t-1-1.1"),
        Call("mark_complete", {"summary": "wrote both", "criteria": {"1": "both are there"}}),
    )
    arena.play("t-1-1", Write("part.txt", "part"))
    code, out, err = arena.run({"t": {"agent": "speaker", "writes": ["t.txt", "part.txt"], "accept": ["both"]}})
    tasks = arena.place.tasks()
    assert code == 0, (out, err, tasks, arena.place.coord("events", "s").out)
    assert arena.place.show("t.txt").strip() == "whole"
    assert arena.place.show("part.txt").strip() == "part"
    assert {name: task["landed"] for name, task in tasks.items()} == {"t": True, "t-1-1": True}
    told = json.dumps(arena.events("t.1"))
    for said in ("read it", "wrote both", "no evidence for criterion 1: both", "delegated as t-1-1"):
        assert said in told, told
    assert not arena.alive()
