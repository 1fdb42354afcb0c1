"""The gate: an agent that runs a model is used once it has shown that it can call tools and write files."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.agents import Profile, plain_profile
from coordstore_orchestrator.agents.builtin import BUILTIN
from coordstore_orchestrator.agents.proof import Proofs, Unproven, needs_proof, version
from tests.run.conftest import Place

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

CALL = '{"type":"assistant","message":{"content":[{"type":"tool_use","id":"1","name":"Write","input":{"path":"p"}}]}}'
END = '{"type":"result","subtype":"success","is_error":false,"result":"done"}'
GOOD = f"#!/bin/sh\n[ \"$1\" = --version ] && echo 'fake 1.0' && exit\ncat > /dev/null\necho '{CALL}'\n"
WRITES = "echo proved > proof.txt\n"
ENDS = f"echo '{END}'\n"


def fake(folder: Path, text: str) -> str:
    """Install a program that prints what Claude Code would; return the configuration with its profile."""
    path = folder / "fake-agent"
    path.write_text(text)
    path.chmod(0o755)
    return f'[agents.fake]\nargv = ["{path}", ["--model", "{{model}}"]]\noutput = "claude"\n'


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def listed(place: Place) -> dict[str, Any]:
    rows = json.loads(place.coord("profiles", "list", "--json").out)["profiles"]
    return {row["name"]: row for row in rows}


@pytest.mark.req("W8")
def test_an_agent_is_refused_until_it_has_shown_what_it_can_do(place: Place) -> None:
    config = place.repository / "coord.toml"
    config.write_text(fake(place.folder, GOOD + WRITES + ENDS))
    plan = place.folder / "agents.json"
    tasks = [{"id": "t", "prompt": "do it", "writes": ["proof.txt"], "agent": "fake"}]
    plan.write_text(json.dumps({"goal": "test", "tasks": tasks}))
    refused = place.run(plan)
    assert refused.code == 2
    assert "agent fake, version fake 1.0, has not shown yet" in refused.err
    assert "`coord profiles probe fake`" in refused.err
    assert not list(place.folder.glob("state/*/sessions/*"))
    assert place.coord("run", plan, "--session", "anyway", "--allow-unproven").code == 0

    done = place.coord("profiles", "probe", "fake")
    assert done.code == 0, done
    assert done.out == "fake: proven (model its own choice, version fake 1.0)\n"
    assert place.run(plan).code == 0
    assert {name: listed(place)["fake"][name] for name in ("verdict", "version")} == {
        "verdict": "proven",
        "version": "fake 1.0",
    }
    assert "proven" in place.coord("profiles", "list").out
    assert place.git("status", "--porcelain") == "?? coord.toml\n"

    config.write_text(fake(place.folder, (GOOD + WRITES + ENDS).replace("1.0", "1.1")))  # an update
    assert place.coord("run", plan, "--session", "again").code == 2
    assert listed(place)["fake"]["verdict"] == "unproven"


@pytest.mark.req("W8")
@pytest.mark.parametrize(
    ("script", "said"),
    [
        (GOOD + ENDS, "changed nothing"),
        (GOOD + "echo wrong > proof.txt\n" + ENDS, "check failed"),
        (GOOD.replace("Write", "x").replace("assistant", "unknown") + WRITES + ENDS, "its output is not understood"),
        (GOOD + WRITES + "exit 3\n", "exited with status 3"),
    ],
)
def test_a_probe_that_fails_says_why_and_is_remembered(place: Place, script: str, said: str) -> None:
    (place.repository / "coord.toml").write_text(fake(place.folder, script))
    done = place.coord("profiles", "probe", "fake")
    assert done.code == 1
    assert said in done.out
    row = listed(place)["fake"]
    assert row["verdict"] == "failed"
    assert said in row["reason"]


@pytest.mark.req("W8")
def test_a_verdict_belongs_to_profile_model_and_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COORD_HOME", str(tmp_path / "state"))
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho one\n")
    program.chmod(0o755)
    proofs = Proofs({"PATH": "/usr/bin:/bin"})
    profile = Profile(name="p", argv=(str(program), "{model}"), model="big")
    with pytest.raises(Unproven, match="agent p:big, version one, has not shown yet"):
        proofs.demand(profile)
    proofs.record(profile, ok=True)
    proofs.demand(profile)
    for other in (
        Profile(name="p", argv=(str(program), "{model}"), model="small"),
        Profile(name="p", argv=(str(program), "{model}", "--unsafe"), model="big"),
        Profile(name="q", argv=(str(program), "{model}"), model="big"),
    ):
        with pytest.raises(Unproven):
            proofs.demand(other)
    program.write_text("#!/bin/sh\necho number two\n")
    with pytest.raises(Unproven, match="version number two"):
        proofs.demand(profile)
    proofs.record(profile, ok=False, reason="it wrote nothing")
    with pytest.raises(Unproven, match=r"failed its probe \(it wrote nothing\)"):
        proofs.demand(profile)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "state").rglob("*")}
    assert modes == {0o600, 0o700}


@pytest.mark.req("W8")
def test_plain_commands_need_no_proof_and_missing_programs_have_no_version() -> None:
    assert not needs_proof(plain_profile(["sh", "{model}"]))
    assert not needs_proof(Profile(name="lint", argv=("./lint",)))
    assert all(map(needs_proof, BUILTIN))
    missing = Profile(name="x", argv=("no-such-program", "{model}"))
    assert version(missing, {"PATH": "/usr/bin"}) is None
    Proofs({"PATH": "/usr/bin"}).demand(missing)


@pytest.mark.req("W7")
def test_what_cannot_start_is_told_and_falls_back(place: Place) -> None:
    refused = '{"type":"result","is_error":true,"api_error_status":401,"result":"no key"}'
    config = fake(place.folder, f"#!/bin/sh\necho '{refused}'\nexit 1\n")
    config += '[agents.last]\nargv = ["sh", "-c", "echo good > t.txt"]\n'
    config += '[agents.gone]\nargv = ["no-such-program", "{model}"]\nfallback = ["fake", "last"]\n'
    (place.repository / "coord.toml").write_text(config)
    plan = place.folder / "agents.json"
    tasks = [
        {"id": "t", "prompt": "do it", "writes": ["t.txt"], "agent": "gone"},
        {"id": "alone", "prompt": "do it", "writes": ["u.txt"], "agent": "fake"},
    ]
    plan.write_text(json.dumps({"goal": "test", "tasks": tasks}))
    done = place.run(plan, "--allow-unproven")
    found = place.tasks()
    assert done.code == 3, (done, found)
    assert place.show("t.txt") == "good\n"
    assert found["alone"]["reason"].startswith("fake did not start: its model's API does not accept its key (401)")
    told = place.coord("events", "s").out
    assert "'no-such-program' not found; install it" in told
    assert "falls back on fake" in told
    assert "falls back on last" in told
