"""Hostile text as a prompt arrives byte for byte; as a name it is refused; nowhere does it act."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from functools import partial
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import CoordError, InvalidKey
from coordstore.plugins import open_store
from coordstore.session.keys import SessionKeys, is_task, split_agent
from coordstore.session.session import Session
from coordstore_orchestrator.git.names import is_name
from coordstore_orchestrator.git.run import git
from coordstore_orchestrator.git.session import SessionRepository
from coordstore_orchestrator.git.user import UserRepository
from coordstore_orchestrator.merge.land import result_ref
from coordstore_orchestrator.merge.onto import merge_into
from tests.run.conftest import Place
from tests.security.texts import hostile

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)
LONG = 1000


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Path]:
    """Give the name of a file that nothing may make."""
    path = tmp_path / "canary"
    yield path
    assert not path.exists()


def short(canary: Path) -> list[str]:
    """Return the texts that fit on a command line and that a system call takes."""
    return [text for text in hostile(str(canary)) if len(text) < LONG and "\0" not in text]


def test_the_corpus_is_as_large_as_it_claims(canary: Path) -> None:
    assert len(set(hostile(str(canary)))) >= 60


@pytest.mark.security(1)
def test_prompts_arrive_byte_for_byte_and_do_nothing(place: Place, canary: Path) -> None:
    """On standard input and in the file, for an agent that copies both; one task carries all short texts."""
    texts = [text for text in hostile(str(canary)) if "\0" not in text]
    small, large = "\n§\n".join(text for text in texts if len(text) < LONG), max(texts, key=len)
    script = (
        "cat > {0}.txt; cmp -n {1} {0}.txt $COORD_PROMPT_FILE && ls -l $COORD_PROMPT_FILE | cut -c1-10 > {0}.mode;"
        "cat /proc/[0-9]*/cmdline > {0}.argv 2>/dev/null; true"
    )
    tasks = {
        name: {"prompt": text, "name": texts[0], "writes": [f"{name}.*"], "sh": script.format(name, len(text.encode()))}
        for name, text in (("small", small), ("large", large[:900_000]))
    }
    done = place.run(place.plan(tasks))
    assert done.code == 0, done
    assert _landed(place, "small.txt").startswith(small.encode())
    assert _landed(place, "large.txt").startswith(large[:900_000].encode())
    for name in tasks:
        assert _landed(place, f"{name}.mode") == b"-rw-------\n"
        assert b"COORD" in _landed(place, f"{name}.argv")  # the agent's own
        assert os.fsencode(canary) not in _landed(place, f"{name}.argv")


def _landed(place: Place, name: str) -> bytes:
    argv = ["git", "-C", str(place.repository), "show", f"coord/s:{name}"]
    return subprocess.run(argv, capture_output=True, check=True).stdout


@pytest.mark.security(1, 2)
@pytest.mark.parametrize("backend", ["sqlite:{}/store.db", "file:{}/store"])
async def test_no_hostile_text_names_a_key_a_stream_or_a_prefix(tmp_path: Path, canary: Path, backend: str) -> None:
    folder = tmp_path / "inside" / "deep"
    folder.mkdir(parents=True, mode=0o700)
    before = _files(tmp_path, folder)
    async with open_store(backend.format(folder)) as store:
        for text in set(hostile(str(canary))) - {"a..b", "x.lock"}:  # odd, and harmless here: segments of a key
            calls = (partial(store.put, text, b"x"), partial(store.append, text, [b"x"]), partial(store.get, text))
            for call in (*calls, partial(store.drop, text), partial(store.delete_prefix, text)):
                with pytest.raises(InvalidKey):
                    await call()
        await store.put("con/nul/aux.txt", b"x")
        await store.put("a/" * 200 + "a", b"x")
    assert await asyncio.to_thread(_files, tmp_path, folder) == before


def _files(root: Path, but: Path) -> set[Path]:
    return {path for path in root.rglob("*") if not path.is_relative_to(but)}


@pytest.mark.security(1, 2)
def test_no_hostile_text_names_a_session_a_task_or_an_agent(canary: Path) -> None:
    for text in [*hostile(str(canary)), "", ".", "..", "A", "a" * 300, "a/b", "a.lock", "a..b", "\u00e9", "e\u0301"]:
        with pytest.raises(InvalidKey):
            SessionKeys(text)
        with pytest.raises(InvalidKey):
            split_agent(text)
        assert not is_task(text)
        assert not is_name(text)
        with pytest.raises(CoordError):
            result_ref(text)


@pytest.mark.security(1, 2)
def test_a_plan_or_a_command_line_with_such_names_changes_nothing(place: Place, canary: Path) -> None:
    for text in short(canary)[::4]:
        plan = place.folder / "bad.json"
        task = {"id": text, "prompt": "p", "writes": ["x"], "agent": {"command": ["true"]}}
        plan.write_text(json.dumps({"goal": "g", "tasks": [task]}))
        assert place.coord("run", plan).code == 2
        for words in (["inspect", "--", text], ["merge", "--into", "x", "--", text]):
            done = place.coord(*words)
            assert done.code, (text, done)
            assert "Traceback" not in done.err
            assert not {*done.err} & {"\x1b", "\x07", "\r"}
    assert place.git("for-each-ref").count("\n") == 1
    assert not [path for path in place.folder.rglob("sessions/*") if path.is_dir()]


@pytest.mark.security(1, 3)
async def test_no_hostile_text_acts_as_a_branch_or_a_base(place: Place, canary: Path, tmp_path: Path) -> None:
    user = await UserRepository.discover(place.repository)
    head, before = await user.resolve(), place.git("for-each-ref")
    sessions = SessionRepository(tmp_path / "session")
    await sessions.create(user, head)
    for text in short(canary):
        calls: list[Callable[[], Awaitable[object]]] = [
            partial(merge_into, user, tmp_path, text, head, "m"),
            *([] if "@{" in text else [partial(user.resolve, text)]),  # git takes any words there for a date
            partial(sessions.add_worktree, text, head, tmp_path / "tree"),
        ]
        for call in calls:
            with pytest.raises(CoordError):
                pytest.fail(f"{call} took it: {await call()}")
    assert place.git("for-each-ref") == before
    assert not (tmp_path / "tree").exists()


@pytest.mark.security(3)
async def test_git_runs_in_an_environment_in_which_nothing_can_be_asked_or_fetched(place: Place) -> None:
    said = await git(["var", "-l"], git_dir=place.repository / ".git")
    settings = dict(line.split("=", 1) for line in said.stdout.decode().splitlines() if "=" in line)
    assert settings["protocol.allow"] == "never"
    assert settings["core.hookspath"] == os.devnull
    shown = await git(["-c", "alias.env=!env", "env"], git_dir=place.repository / ".git")
    environment = dict(line.split("=", 1) for line in shown.stdout.decode().splitlines() if "=" in line)
    assert (environment["GIT_TERMINAL_PROMPT"], environment["GIT_CONFIG_NOSYSTEM"]) == ("0", "1")
    for remote in ("ext::sh -c true", str(place.repository), "https://localhost:1/x", "ssh://localhost/x"):
        fetched = await git(["fetch", "--", remote], git_dir=place.repository / ".git", check=False)
        assert fetched.returncode
        assert b"not allowed" in fetched.stderr


@pytest.mark.security(2)
async def test_a_sessions_files_lie_below_its_folder_whatever_the_store_says(place: Place) -> None:
    """A record that names another worktree moves nothing: paths come from names that were checked."""
    assert place.run(place.plan({"t": {}})).code == 0
    (store_file,) = place.folder.glob("state/*/store.db")
    victim = place.folder / "victim"
    victim.mkdir()
    async with open_store(f"sqlite:{store_file}") as store:
        keys = Session(store, "s").keys
        await store.put(keys.agent("t.1", "worktree"), str(victim).encode())
        await store.put(keys.agent("t.1", "branch"), b"--upload-pack=touch x")
    done = await asyncio.to_thread(place.coord, "gc", "s", "--force", "--records")
    assert done.code == 0, done
    assert victim.is_dir()
