"""A view is the same whether it was listed or watched, at every revision, and nothing that is stored can break it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordstore import engine
from coordstore.errors import CoordError
from coordstore.model import Batch, Change, Delete, Entry, Put
from coordstore.names import under
from coordstore.session import SessionView, State
from tests.session.stage import Stage, view_of

if TYPE_CHECKING:
    from collections.abc import Callable

TASKS = ("t1", "t2")


def facts(view: SessionView) -> dict[str, Any]:
    """Return everything that can be seen of a view."""
    return {
        "revision": view.revision,
        "entries": dict(sorted(view.entries.items())),
        "tasks": {task.id: (task.spec, task.attempts, task.state, task.reason) for task in view.ordered()},
        "json": view.as_json(),
        "state": view.state,
        "tip": view.tip,
        "ready": view.ready,
    }


def cut_at(state: engine.State) -> SessionView:
    return SessionView.of("s1", state.list("s1", None, None, keys_only=False).entries, state.revision)


def compare_everywhere(stage: Stage, parts: int = 2) -> None:
    """Replay a store's history and compare, after each commit, what was watched from any point with what is listed."""
    replayed = engine.State()
    watched = SessionView("s1")
    late: list[SessionView] = []
    for commit in stage.store.memory.state.history:
        replayed.evolve(commit)
        changes = [change for change in commit.changes if under("s1", change.key)]
        listed = cut_at(replayed)
        for view in (watched, *late):
            view.apply(Batch(commit.revision, changes=changes))
            assert facts(view) == facts(listed)
        late = [*late[-3:], reset(SessionView("s1"), listed, parts)]
        assert facts(reset(watched, listed, parts)) == facts(listed)


def reset(view: SessionView, listed: SessionView, parts: int) -> SessionView:
    """Give a view a reset in parts; until the last of them it stays what it was."""
    changes = [Change(key, entry) for key, entry in sorted(listed.entries.items())]
    size = len(changes) // parts + 1
    before = facts(view)
    for at in range(0, len(changes) + 1, size):
        assert facts(view) == before
        complete = at + size > len(changes)
        view.apply(Batch(listed.revision, reset=True, complete=complete, changes=changes[at : at + size]))
    return view


class Random:
    """Draws moves of a session, sensible and foolish ones, and makes them."""

    def __init__(self, stage: Stage, draw: Callable[[Any], Any]) -> None:
        self.stage = stage
        self.draw = draw
        self.claims: list[Any] = []

    async def move(self) -> None:
        name = self.draw(st.sampled_from(["assign", "claim", "finish", "end", "cancel", "drop", "time", "tell", "raw"]))
        with contextlib.suppress(CoordError):
            await getattr(self, name)()

    async def assign(self) -> None:
        task = (await self.stage.session.view()).tasks.get(self.draw(st.sampled_from(TASKS)))
        if task is not None:
            await self.stage.session.assign(task, "c0")

    def agent(self) -> str:
        return f"{self.draw(st.sampled_from(TASKS))}.{self.draw(st.integers(1, 3))}"

    async def claim(self) -> None:
        self.claims.append(await self.stage.session.claim(self.agent(), (), {}, await self.stage.lease()))

    async def finish(self) -> None:
        if self.claims:
            final = self.draw(st.sampled_from([State.COMPLETED, State.FAILED, State.CANCELLED]))
            await self.draw(st.sampled_from(self.claims)).finish(final, {"reason": "r"})

    async def end(self) -> None:
        attempt = (await self.stage.session.view()).attempt(self.agent())
        if attempt is not None:
            await self.stage.session.end(attempt, self.draw(st.sampled_from(State)), {"code": "lost"})

    async def cancel(self) -> None:
        await self.stage.session.request_cancel(self.agent(), "stop")

    async def drop(self) -> None:
        attempt = (await self.stage.session.view()).attempt(self.agent())
        if attempt is not None:
            await self.stage.session.drop_claim(attempt)

    async def time(self) -> None:
        await self.stage.clock.advance(self.draw(st.sampled_from([1, 11])))
        await self.stage.store.get("s1/meta")

    async def tell(self) -> None:
        if self.claims:
            await self.draw(st.sampled_from(self.claims)).report(step=self.draw(st.integers(0, 3)))

    async def raw(self) -> None:
        """Write or delete any keys, as a person with another tool would."""
        keys = st.sampled_from([f"s1{name}" for name in RAW])
        writes: list[Put | Delete] = [
            Put(key, self.draw(st.sampled_from(GARBAGE))) if self.draw(st.booleans()) else Delete(key)
            for key in self.draw(st.sets(keys, min_size=1, max_size=3))
        ]
        await self.stage.store.transact(writes)


RAW = (
    "",
    "/meta",
    "/leader",
    "/result",
    "/tip",
    "/merged/t1",
    "/tasks",
    "/tasks/t1",
    "/tasks/t2",
    "/tasks/t.1",
    "/tasks/t1/deep",
    "/agents",
    "/agents/t1.1",
    "/agents/t1.1/status",
    "/agents/t1.1/claim",
    "/agents/t1.1/result",
    "/agents/t1.1/a/b",
    "/agents/t2.2/status",
    "/agents/t2.10/status",
    "/agents/t9.1/status",
    "/agents/nobody/status",
    "/agents/t1.0/status",
    "/agents/t1.1/step",
    "/agents/t1.1/pid",
    "/queue/any/t1.1",
    "/queue/any",
)
DEEP = b"[" * 900 + b"]" * 900
GARBAGE = (
    b"",
    b"running",
    b"completed",
    b"Running",
    b"\xff\xfe\x00",
    b"null",
    b"7",
    b"[]",
    b"{}",
    b'"text"',
    b"9" * 5000,
    "²".encode(),
    b"-1",
    b"1e400",
    b"[" * 200_000,
    b'{"order":7,"goal":{"a":[]},"ready":"yes","digest":[]}',
    b'{"order":[["t1"],{},null,"t1","t1"],"goal":["x"]}',
    b'{"needs":7,"labels":{"a":1},"limits":[],"name":["x"],"priority":"high"}',
    b'{"needs":[1,null,["t1"]],"labels":null,"limits":{"attempts":"x"},"name":null}',
    b'{"reason":["x"],"code":{}}',
    b'{"reason":"\\ud800","final":7,"landed":7,"ref":{}}',
    b'{"final":[],"landed":"t1","ref":null}',
    b'{"refused":{"a":1},"merged":"yes","host":["h"],"pid":{}}',
    b'{"reason":' + DEEP + b',"goal":' + DEEP + b',"name":' + DEEP + b',"refused":' + DEEP + b',"final":' + DEEP + b"}",
)


@pytest.mark.req("S6", "T2")
@given(st.data())
@settings(max_examples=60)
def test_watched_and_listed_are_the_same_at_every_revision(data: st.DataObject) -> None:
    async def scenario() -> Stage:
        stage = await Stage().create(*TASKS)
        moves = Random(stage, data.draw)
        for _ in range(data.draw(st.integers(0, 25))):
            await moves.move()
        if data.draw(st.booleans()):
            with contextlib.suppress(CoordError):
                await stage.session.delete()
        return stage

    compare_everywhere(asyncio.run(scenario()), data.draw(st.integers(1, 4)))


@pytest.mark.req("S6")
async def test_a_real_watch_brings_the_same_as_a_list() -> None:
    stage = await Stage().create(*TASKS)
    async with aclosing(stage.session.views()) as views:
        view = await anext(views)
        assert facts(view) == facts(view_of(stage))
        await stage.bring_all()
        while view.revision < stage.store.memory.state.revision:
            assert await anext(views) is view
        assert facts(view) == facts(view_of(stage))


@pytest.mark.security(15)
@pytest.mark.parametrize("name", RAW)
def test_no_value_anywhere_breaks_a_view(name: str) -> None:
    for value in GARBAGE:
        read_everything(name, value)


def read_everything(name: str, value: bytes) -> None:
    entries = {
        "s1/meta": b'{"order":["t1","t2"],"ready":true}',
        "s1/tasks/t1": b"{}",
        "s1/tasks/t2": b'{"needs":["t1"]}',
        "s1/agents/t1.1/status": b"completed",
        f"s1{name}": value,
    }
    view = SessionView.of("s1", [Entry(key, data, 3, 2) for key, data in sorted(entries.items())], 3)
    json.dumps(facts(view)["json"], ensure_ascii=False).encode()
    for task in view.ordered():
        assert task.state in State
        assert isinstance(task.name, str)
        assert (task.labels, task.priority, task.needs, view.reason(task), view.landed(task.id)) is not None
        assert all(attempt.lost in (True, False) and attempt.number for attempt in task.attempts)


def entry(key: str, value: bytes = b"x") -> Change:
    return Change(key, Entry(key, value, 1, 1))


@pytest.mark.req("T2")
def test_the_order_of_the_tasks_follows_the_plan_and_the_tasks_there_are() -> None:
    view = SessionView("s1")

    def shown(*changes: Change, reset: bool = False) -> list[str]:
        view.apply(Batch(view.revision + 1, reset=reset, changes=[*changes]))
        return [task.id for task in view.ordered()]

    assert shown(entry("s1/tasks/t1", b"{}"), entry("s1/tasks/t2", b"{}")) == ["t1", "t2"]
    assert shown(entry("s1/meta", b'{"order": ["t2", "t1"]}')) == ["t2", "t1"]
    assert shown(entry("s1/tasks/t0", b"{}")) == ["t2", "t1", "t0"]
    assert shown(Change("s1/tasks/t2", None)) == ["t1", "t0"]
    assert shown(entry("s1/tasks/t9", b"{}"), reset=True) == ["t9"]
    view.ordered().clear()
    assert [task.id for task in view.ordered()] == ["t9"]


@pytest.mark.security(15)
@pytest.mark.req("T2")
def test_a_stray_key_is_neither_a_task_nor_an_attempt() -> None:
    view = SessionView("s1")
    view.apply(
        Batch(1, changes=[entry("s1/tasks/t1", b"{}"), entry("s1/agents/t1.2/cancel"), entry("s1/agents/t9.1/step")])
    )
    assert set(view.tasks) == {"t1"}
    assert view.tasks["t1"].latest is None
    assert view.tasks["t1"].next_attempt == 1
    assert view.attempt("t1.2") is None


@pytest.mark.req("T1", "T2")
@pytest.mark.parametrize(
    ("keys", "state", "lost"),
    [
        ({}, State.PENDING, False),
        ({"1/status": b"pending"}, State.PENDING, False),
        ({"1/status": b""}, State.PENDING, False),
        ({"1/status": b"running"}, State.RUNNING, True),
        ({"1/status": b"running", "1/claim": b""}, State.RUNNING, False),
        ({"1/status": b"nonsense", "1/claim": b""}, State.FAILED, False),
        ({"1/status": b"completed"}, State.COMPLETED, False),
        ({"1/status": b"failed", "2/status": b"pending"}, State.PENDING, False),
        ({"9/status": b"failed", "10/status": b"completed"}, State.COMPLETED, False),
        ({"1/status": b"failed", "3/status": b"cancelled"}, State.CANCELLED, False),
    ],
)
def test_a_task_s_state_is_computed_from_its_latest_attempt(keys: dict[str, bytes], state: State, lost: bool) -> None:
    changes = [entry("s1/tasks/t1", b"{}"), *(entry(f"s1/agents/t1.{name}", value) for name, value in keys.items())]
    for order in (changes, changes[::-1]):
        view = SessionView("s1")
        view.apply(Batch(1, changes=order))
        assert view.tasks["t1"].state is state
        latest = view.tasks["t1"].latest
        assert bool(latest and latest.lost) == lost
        assert (view.tasks["t1"].reason == "lost: its worker is gone") == lost


def test_a_half_delivered_reset_shows_nothing_yet() -> None:
    view = SessionView("s1")
    view.apply(Batch(1, changes=[entry("s1/tasks/t1", b"{}")]))
    view.apply(Batch(9, reset=True, complete=False, changes=[entry("s1/agents/t2.1/status", b"failed")]))
    assert (view.revision, set(view.tasks)) == (1, {"t1"})
    view.apply(Batch(9, reset=True, complete=True, changes=[entry("s1/tasks/t2", b"{}")]))
    assert (view.revision, set(view.tasks), str(view.tasks["t2"].state)) == (9, {"t2"}, "failed")


@pytest.mark.parametrize("forget", ["_remove", "clear"])
def test_these_tests_catch_a_view_that_keeps_what_is_gone(forget: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> Stage:
        stage = await Stage().create(*TASKS)
        await stage.running("t1")
        await stage.session.delete()
        return stage

    stage = asyncio.run(scenario())
    compare_everywhere(stage)
    if forget == "_remove":
        monkeypatch.setattr(SessionView, "_remove", lambda _self, _key: None)
    else:
        whole = SessionView.apply
        monkeypatch.setattr(
            SessionView, "apply", lambda self, batch: whole(self, Batch(batch.revision, False, True, batch.changes))
        )
    with pytest.raises(AssertionError):
        compare_everywhere(stage)
