"""Creating a session: once, again, by many at a time, cut off anywhere, large, under odd names."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import CoordError, InvalidArgument, InvalidKey, TooLarge, Unavailable
from coordstore.session import events
from coordstore.session.catalog import sessions
from coordstore.session.session import Session, SessionExists
from coordstore.testing import MemoryStore
from tests.session.stage import META, Stage

if TYPE_CHECKING:
    from coordstore.model import Committed, Transaction

PLAN: dict[str, dict[str, Any]] = {"b": {"prompt": "one"}, "a": {"prompt": "two", "needs": ["b"]}}


class Cut(MemoryStore):
    """A store whose process is killed before a certain transaction."""

    left = 1_000_000

    async def do_transact(self, txn: Transaction) -> Committed:
        self.left -= 1
        if self.left < 0:
            message = "cut off"
            raise Unavailable(message)
        return await super().do_transact(txn)


async def test_a_new_session_has_its_tasks_in_the_plan_s_order() -> None:
    session = Stage().session
    assert await session.create(META, PLAN)
    view = await session.view()
    assert [task.id for task in view.ordered()] == ["b", "a"]
    assert view.ready
    assert view.tasks["a"].needs == ["b"]


async def test_the_same_plan_again_finds_it_and_writes_nothing() -> None:
    stage = Stage()
    await stage.session.create(META, PLAN)
    before = stage.store.memory.state.revision
    assert not await stage.session.create(META, PLAN)
    assert stage.store.memory.state.revision == before


async def test_another_plan_under_the_name_is_refused_and_changes_nothing() -> None:
    stage = Stage()
    await stage.session.create(META, PLAN)
    before = stage.contents()
    with pytest.raises(SessionExists, match="another plan"):
        await stage.session.create({**META, "digest": "d2"}, {"c": {}})
    assert stage.contents() == before


@pytest.mark.parametrize("value", [b"", b"\xff", b"[1]", b"{}", b"[" * 50_000, b'{"digest":["d1"]}'])
async def test_a_record_that_is_no_session_s_is_another_plan(value: bytes) -> None:
    stage = Stage()
    await stage.store.put(stage.keys.meta, value)
    with pytest.raises(SessionExists):
        await stage.session.create(META, PLAN)


@pytest.mark.req("S5")
@pytest.mark.parametrize("done", range(5))
async def test_cut_off_anywhere_the_next_call_completes_it(done: int) -> None:
    plan = {f"t{number}": {"prompt": "x"} for number in range(120)}
    store = Cut()
    session = Session(store, "s1")
    store.left = done
    with pytest.raises(Unavailable):
        await session.create(META, plan)
    assert not (await session.view()).ready
    store.left = 1_000_000
    assert await session.create(META, plan) == (done == 0)
    view = await session.view()
    assert view.ready
    assert [task.id for task in view.ordered()] == list(plan)


@pytest.mark.req("S5")
async def test_many_creators_at_once_agree_and_one_of_them_made_it() -> None:
    stage = Stage()
    plan = {f"t{number}": {"prompt": "x"} for number in range(120)}
    made = await asyncio.gather(*(stage.session.create(META, plan) for _ in range(20)))
    assert made.count(True) == 1
    view = await stage.session.view()
    assert set(view.tasks) == set(plan)


@pytest.mark.req("S5")
@pytest.mark.parametrize("key", ["s1/tasks/b", "s1/meta"])
async def test_a_late_creator_does_not_touch_what_another_completed(key: str) -> None:
    stage = Stage()
    await stage.store.create("s1/meta", json.dumps({**META, "order": list(PLAN), "ready": False}).encode())
    after: list[int] = []

    async def another() -> None:
        assert not await stage.session.create(META, PLAN)
        after.append(stage.store.memory.state.revision)

    stage.store.before = (key, another)
    assert not await stage.session.create(META, PLAN)
    assert after == [stage.store.memory.state.revision]


async def test_a_session_that_is_deleted_while_it_is_created_is_created_again() -> None:
    stage = Stage()
    stage.store.before = ("s1/tasks/b", stage.session.delete)
    assert await stage.session.create(META, PLAN)
    assert (await stage.session.view()).ready


async def test_what_a_worker_says_during_a_deletion_goes_too() -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    stage.store.before = ("s1", lambda: claim.report(events.Note(text="still here")))
    await stage.session.delete()
    assert stage.contents() == ({}, {})


async def test_ten_thousand_tasks_and_long_ones() -> None:
    stage = Stage()
    plan: dict[str, dict[str, Any]] = {f"t{number}": {"prompt": "x"} for number in range(10_000)}
    plan |= {f"long{number}": {"prompt": "y" * 700_000} for number in range(3)}
    assert await stage.session.create(META, plan)
    view = await stage.session.view()
    assert len(view.tasks) == 10_003
    assert len(view.tasks["long2"].spec["prompt"]) == 700_000


@pytest.mark.parametrize(
    ("plan", "error"),
    [
        ({"fine": {}, "huge": {"prompt": "y" * 1_100_000}}, TooLarge),
        ({"fine": {}, "a/b": {}}, InvalidKey),
        ({"fine": {}, "": {}}, InvalidKey),
        ({"fine": {}, "Upper": {}}, InvalidKey),
        ({"fine": {}, "t" * 41: {}}, InvalidKey),
        ({"fine": {}, "t.1": {}}, InvalidKey),
    ],
)
async def test_a_plan_that_cannot_be_stored_leaves_nothing_behind(
    plan: dict[str, dict[str, str]], error: type[CoordError]
) -> None:
    stage = Stage()
    with pytest.raises(error):
        await stage.session.create(META, plan)
    assert stage.contents() == ({}, {})


@pytest.mark.parametrize("text", ["caf\udce9", "\ud83d", "\u2028 \x00 \U0001f600"])
async def test_any_text_can_stand_in_a_plan(text: str) -> None:
    stage = Stage()
    await stage.session.create(META, {"t1": {"prompt": text}})
    back = (await stage.task("t1")).spec["prompt"]
    assert back == text.encode("utf-8", "backslashreplace").decode()


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a..b",
        "a.lock",
        "a.",
        "-a",
        "a/b",
        "/a",
        "@ops",
        "A",
        "a b",
        "a\n",
        "é",
        "a\x00",
        "x" * 65,
        "a~1",
    ],
)
def test_names_that_are_no_session_s_are_refused(name: str) -> None:
    with pytest.raises(InvalidKey, match="session name"):
        Session(MemoryStore(), name)


@pytest.mark.parametrize(
    "name", ["meta", "agents", "tasks", "queue", "events", "leader", "s", "a.b_c-d", "0", "x" * 64]
)
async def test_a_session_may_be_named_like_a_part_of_itself(name: str) -> None:
    stage = Stage(name)
    await stage.create("meta", "agents", "tasks")
    assert await stage.bring_all() == {"meta.1": "completed", "agents.1": "completed", "tasks.1": "completed"}
    assert [view.session for view in await sessions(stage.store)] == [name]


async def test_sessions_are_listed_oldest_first_and_foreign_keys_passed_over() -> None:
    stage = Stage()
    for name in ("s2", "s10", "s1"):
        await Session(stage.store, name).create(META, PLAN)
    for key in ("@pool/meta", "a..b/meta", "x.lock/meta", "alone", "half/tasks/t1", "s3/meta/deep"):
        await stage.store.put(key, b"{}")
    assert [view.session for view in await sessions(stage.store)] == ["s2", "s10", "s1"]


@pytest.mark.req("T2")
async def test_neighbours_with_a_common_beginning_do_not_see_each_other() -> None:
    stage = await Stage("a1").create("t1")
    other = Session(stage.store, "a10")
    await other.create(META, {"t2": {}})
    await stage.bring_all()
    assert set((await other.view()).tasks) == {"t2"}
    assert (await other.view()).tasks["t2"].attempts == []


async def test_a_deleted_session_leaves_nothing_and_can_be_made_again() -> None:
    stage = await Stage().create("t1", "t2")
    await stage.bring_all()
    await stage.session.delete()
    assert stage.contents() == ({}, {})
    assert await stage.session.create(META, PLAN)


async def test_a_session_that_is_led_is_not_deleted() -> None:
    stage = await Stage().create("t1")
    await stage.store.put(stage.keys.leader, b'{"host":"h","pid":3}')
    with pytest.raises(CoordError, match="led by h:3"):
        await stage.session.delete()
    assert (await stage.session.view()).tasks


async def test_a_worker_of_a_deleted_session_writes_nothing_any_more() -> None:
    stage = await Stage().create("t1")
    claim = await stage.running("t1")
    await stage.session.delete()
    with pytest.raises(CoordError):
        await claim.report(step=1)
    with pytest.raises(InvalidArgument, match=r"no attempt t1\.1"):
        await stage.session.request_cancel("t1.1", "x")
    assert stage.contents() == ({}, {})
