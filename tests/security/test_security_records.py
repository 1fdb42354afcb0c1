"""Records that somebody else wrote make us run, remove, signal and land nothing: at worst, their task is refused."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordstore.errors import CoordError, TooLarge
from coordstore.model import Append, Check, Put
from coordstore.names import RECORD_MAX, VALUE_MAX
from coordstore.session import State
from coordstore.session.session import Session
from coordstore.session.values import as_object, as_value
from coordstore.testing import MemoryStore
from coordstore_orchestrator.merge.rebuild import merge_order
from coordstore_orchestrator.monitor.decide import Assign, CancelTask, EndLost, Integrate, decide, settled
from coordstore_orchestrator.worker.process.identity import (
    MARKER,
    end_leftovers,
    is_alive,
    is_dead,
    own_holder,
    process_identity,
)
from tests.git.conftest import World, new_repo
from tests.git.queue import Queue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)
NONE_THERE = "1" * 40

hostile = st.sampled_from(
    ["../../x", "/etc/passwd", "--output=x", "$(touch x)", "a\0b", "t.1", "HEAD", "", NONE_THERE, "\ud800", "\x1b[2J"]
)
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), hostile, st.text(max_size=8))
trees = st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hostile, inner, max_size=3))
FIELDS = {
    "meta": ["base", "order", "ready", "validate", "setup", "agent", "hand_back", "digest"],
    "tasks/t": ["needs", "writes", "labels", "priority", "limits", "name", "checks", "prompt"],
    "merged/t": [
        "merged",
        "agent",
        "commit",
        "dropped",
        "returned",
        "returns",
        "files",
        "conflicts",
        "refused",
        "work",
    ],
    "agents/t.1/assignment": ["base", "task", "hint"],
    "agents/t.1/result": ["commit", "code", "reason"],
    "agents/t.1/claim": ["run", "pid", "start", "boot", "host"],
    "result": ["final", "commit", "ref", "landed"],
    "leader": ["run", "pid"],
}
BARE = ["tip", "agents/t.1/status", "agents/t.1/step", "agents/t.1/pid", "agents/t.1/worktree", "agents/t.1/branch"]


@st.composite
def records(draw: st.DrawFn) -> dict[str, bytes]:
    """Draw a session in which any record may hold anything."""
    found: dict[str, bytes] = {"meta": as_value({"ready": True, "order": ["t"], "base": NONE_THERE}), "tasks/t": b"{}"}
    for key, fields in FIELDS.items():
        if draw(st.booleans()):
            value = draw(st.dictionaries(st.sampled_from(fields), trees, max_size=len(fields)) | trees)
            found[key] = draw(st.sampled_from([json.dumps(value).encode(), draw(st.binary(max_size=20))]))
    for key in BARE:
        if draw(st.booleans()):
            states = st.sampled_from([str(state).encode() for state in State])
            found[key] = draw(states if key.endswith("status") else st.binary(max_size=20))
    return found


@pytest.mark.security(15)
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(records())
def test_whatever_the_records_say_decisions_name_this_sessions_tasks_only(written: dict[str, bytes]) -> None:
    async def check() -> None:
        async with MemoryStore() as store:
            for key, value in written.items():
                await store.put(f"s/{key}", value)
            view = await Session(store, "s").view()
        for action in decide(view):
            assert isinstance(action, Assign | CancelTask | EndLost | Integrate)
            assert getattr(action, "task", "t") == "t"
            assert getattr(action, "agent", "t.1").partition(".")[0] == "t"
        for task in view.tasks.values():
            settled(view, task)
        merge_order(view)
        json.dumps(view.as_json())

    asyncio.run(check())


@pytest.fixture
async def world(tmp_path: Path) -> World:
    repo = new_repo(tmp_path / "user")
    repo.write("a", "a\n")
    repo.commit("begin")
    return await World(tmp_path, repo).open()


@pytest.mark.security(3, 15)
@pytest.mark.parametrize("commit", ["--output=CANARY", "HEAD", "refs/heads/main", NONE_THERE, "../x", "-", 7, ["x"]])
async def test_a_result_that_names_no_commit_is_refused_and_the_others_go_on(
    world: World, tmp_path: Path, commit: Any
) -> None:
    canary = tmp_path / "canary"
    forged = commit.replace("CANARY", str(canary)) if isinstance(commit, str) else commit
    async with Queue(world).open({"bad": {}, "good": {}}) as queue:
        await queue.complete("bad", forged)
        good = await world.work("good.1", good="good\n")
        await queue.complete("good", good)
        view = await queue.merge("bad.1", "good.1")
    assert (view.merged("bad").get("merged"), view.merged("good").get("merged")) == (False, True)
    assert "names a commit that this session does not have" in view.merged("bad")["refused"]
    assert not canary.exists()


@pytest.mark.security(3, 15)
@pytest.mark.parametrize("base", ["--output=CANARY", "--index-output=CANARY", "HEAD~1", NONE_THERE])
async def test_an_assignment_whose_base_is_no_commit_touches_nothing(world: World, tmp_path: Path, base: str) -> None:
    canary = tmp_path / "canary"
    forged = base.replace("CANARY", str(canary))
    with pytest.raises(CoordError):
        await world.session.add_worktree("x.1", forged, tmp_path / "trees" / "x.1")
    async with Queue(world).open({"t": {}}) as queue:
        await queue.complete("t", await world.work("t.1", t="t\n"), forged)
        view = await queue.merge("t.1")
    assert view.merged("t").get("merged") is False
    assert not canary.exists()
    assert not (tmp_path / "trees" / "x.1").exists()


@pytest.mark.security(15)
async def test_a_forged_tip_ends_the_merge_with_a_sentence(world: World) -> None:
    async with Queue(world).open({"t": {}}) as queue:
        await queue.complete("t", await world.work("t.1", t="t\n"))
        for tip in (b"--output=x", b"\xff\xfe", NONE_THERE.encode()):
            await queue.session.store.put(queue.session.keys.tip, tip)
            with pytest.raises(CoordError):
                await queue.merge("t.1")
            assert not (await queue.session.view()).merged("t")


@pytest.mark.security(14, 15)
async def test_a_claim_with_another_sessions_token_signals_nobody_of_it() -> None:
    """The record says: a dead worker of this host, whose run's token is that of agents that live."""
    holder = own_holder()
    code = "import time\nprint(flush=True)\ntime.sleep(600)"
    env = {**os.environ, MARKER: str(holder["run"]), "COORD_SESSION": "theirs"}
    stranger = subprocess.Popen([sys.executable, "-c", code], env=env, stdout=subprocess.PIPE)  # noqa: ASYNC220  (starts at once)
    assert stranger.stdout is not None
    try:
        await asyncio.to_thread(stranger.stdout.readline)
        forged = {**holder, "pid": 2**22 - 1, "start": 1}
        assert is_dead(forged)
        assert await end_leftovers(str(forged["run"]), session="ours") == []
        assert is_alive(process_identity(stranger.pid))
        assert [left.pid for left in await end_leftovers(str(holder["run"]), session="theirs")] == [stranger.pid]
    finally:
        stranger.kill()
        stranger.wait()
        stranger.stdout.close()


@pytest.mark.security(14)
@pytest.mark.parametrize(
    "forged",
    [
        {"pid": 1, "start": 1},
        {"pid": 0},
        {"pid": -1, "start": 0},
        {"pid": "1; kill"},
        {"pid": True, "start": True},
        {"boot": "another"},
        {"pids": 0},
        {"pid": None, "start": None, "run": ""},
    ],
)
async def test_a_forged_holder_is_at_most_called_dead_and_an_empty_token_ends_nobody(forged: dict[str, Any]) -> None:
    is_dead({**own_holder(), **forged})
    assert await end_leftovers("") == []
    assert await end_leftovers("no-such-token\0x") == []


@pytest.mark.security(12)
@pytest.mark.parametrize(
    "data",
    [
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": NaN, "b": Infinity}',
        b'{"a": 1, "a": 2}',
        b"1" * 100_000,
        b'{"a": 1e999999}',
        b'"\\ud800"',
        b"\xff\xfe",
        b"!!python/object/apply:os.system [x]",
        b"",
        b"null",
    ],
)
def test_no_stored_value_breaks_its_reader(data: bytes) -> None:
    store_entry = MemoryEntry(data)
    found = as_object(store_entry)  # type: ignore[arg-type]  # all that is asked of an entry is its value
    assert isinstance(found, dict)
    assert as_value(found) is not None


class MemoryEntry:
    """An entry with a value, and nothing else."""

    def __init__(self, value: bytes) -> None:
        self.value = value


@pytest.mark.security(17)
async def test_one_more_than_each_limit_is_refused_before_anything_is_written() -> None:
    async with MemoryStore() as store:
        await store.put("a", b"x" * VALUE_MAX)
        await store.append("s", [b"x" * RECORD_MAX])
        before = (await store.info()).revision
        many = [Put(f"k{number}", b"") for number in range(65)]
        refused: list[Callable[[], Awaitable[object]]] = [
            lambda: store.put("a", b"x" * (VALUE_MAX + 1)),
            lambda: store.append("s", [b"x" * (RECORD_MAX + 1)]),
            lambda: store.transact(many),
            lambda: store.transact([], [Check(f"k{number}", revision=0) for number in range(65)]),
            lambda: store.transact([], [], [Append(f"s{number}", b"") for number in range(65)]),
            lambda: store.transact([Put("a", b"x" * VALUE_MAX), Put("b", b"x" * VALUE_MAX)]),
            lambda: store.put("a/" * 256 + "a", b""),
        ]
        for call in refused:
            with pytest.raises((TooLarge, CoordError)):
                await call()
        assert (await store.info()).revision == before
        assert [entry.key for entry in (await store.list("")).entries] == ["a"]
