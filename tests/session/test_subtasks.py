"""Subtasks in the store: made once, bounded, given up, and where they stand among the others."""

from __future__ import annotations

import json

import pytest

from coordstore.errors import Fenced, InvalidArgument
from coordstore.recipes import Mailbox
from coordstore.session import State
from coordstore.session.lineage import depth_of, path_of, whole_of
from coordstore.session.subtasks import COUNT_MAX, DEPTH_MAX, Delegation, delegate, give_up, made_by, unwanted
from tests.session.stage import Stage

pytestmark = pytest.mark.req("T4")


def wanted(prompt: str = "do it", request: str = "", base: str = "c0") -> Delegation:
    return Delegation({"name": f"Subtask: @stub {prompt}", "prompt": prompt, "writes": [prompt], "base": base}, request)


async def test_the_same_request_is_the_same_subtask() -> None:
    stage = await Stage().create("t")
    claim = await stage.running("t")
    parent = await stage.task("t")
    first = await delegate(claim, parent, wanted("a"))
    assert await delegate(claim, parent, wanted("a", base="c1")) == first
    named = await delegate(claim, parent, wanted("a", request="again"))
    assert await delegate(claim, parent, wanted("a", request="again")) == named
    assert (first, named) == ("t-1-1", "t-1-2")
    with pytest.raises(InvalidArgument, match="something else as 'again'"):
        await delegate(claim, parent, wanted("b", request="again"))
    view = await stage.session.view()
    assert [*made_by(view.attempt("t.1"))] == [first, named]
    assert view.tasks[first].parent == "t.1"
    assert view.tasks[first].spec["base"] == "c0"
    assert depth_of(view.tasks[first].spec) == 1


async def test_number_and_depth_are_bounded() -> None:
    stage = await Stage().create("t", few={"limits": {"subtasks": 1}})
    claim = await stage.running("t")
    for number in range(COUNT_MAX):
        await delegate(claim, await stage.task("t"), wanted(f"p{number}"))
    with pytest.raises(InvalidArgument, match=f"{COUNT_MAX} of {COUNT_MAX} subtasks"):
        await delegate(claim, await stage.task("t"), wanted("more"))
    few = await stage.running("few")
    await delegate(few, await stage.task("few"), wanted("one"))
    with pytest.raises(InvalidArgument, match="1 of 1 subtasks"):
        await delegate(few, await stage.task("few"), wanted("two"))
    below = "t-1-1"
    for _ in range(DEPTH_MAX - 1):
        below = await delegate(await stage.running(below), await stage.task(below), wanted("deeper"))
    with pytest.raises(InvalidArgument, match="do it yourself"):
        await delegate(await stage.running(below), await stage.task(below), wanted("too deep"))


async def test_who_lost_the_attempt_makes_none_and_gives_none_up() -> None:
    stage = await Stage().create("t")
    claim = await stage.running("t")
    name = await delegate(claim, await stage.task("t"), wanted())
    await stage.store.delete(stage.keys.agent("t.1", "claim"))
    with pytest.raises(Fenced):
        await delegate(claim, await stage.task("t"), wanted("other"))
    with pytest.raises(Fenced):
        await give_up(claim, [name], "late")
    view = await stage.session.view()
    assert [*view.tasks] == ["t", name]
    assert "has ended" in str(unwanted(view, view.tasks[name]))


async def test_one_that_is_given_up_is_wanted_no_more() -> None:
    stage = await Stage().create("t")
    claim = await stage.running("t")
    names = [await delegate(claim, await stage.task("t"), wanted(prompt)) for prompt in ("a", "b")]
    await give_up(claim, names[:1], "it took too long")
    view = await stage.session.view()
    assert [unwanted(view, view.tasks[name]) for name in names] == ["it took too long", None]


async def test_subtasks_stand_behind_their_parents_and_are_part_of_the_whole_that_took_them() -> None:
    stage = await Stage().create("a", "b")
    claim = await stage.running("a")
    kept, left = [await delegate(claim, await stage.task("a"), wanted(prompt)) for prompt in ("kept", "left")]
    deeper = await delegate(await stage.running(kept), await stage.task(kept), wanted("deeper"))
    view = await stage.session.view()
    assert [task.id for task in view.ordered()] == ["a", kept, deeper, left, "b"]
    assert [task.id for task in view.ordered([left, "b", deeper])] == [deeper, left, "b"]
    assert [task.id for task in view.planned()] == ["a", "b"]
    assert path_of(view, deeper) == ["a", kept, deeper]
    assert [whole_of(view, name) for name in ("a", kept, left)] == ["a", None, None]
    await claim.finish(State.COMPLETED, {"code": "completed", "commit": "c9", "taken": [kept]})
    await stage.store.put(stage.keys.merged("a"), json.dumps({"agent": "a.1", "merged": True}).encode())
    view = await stage.session.view()
    assert [whole_of(view, name) for name in (kept, left, deeper)] == ["a", None, None]


@pytest.mark.req("R6", "R7")
async def test_a_message_can_be_sent_in_a_transaction_of_ones_own() -> None:
    stage = Stage()
    sender = Mailbox(stage.store, "s1", "child")
    await stage.store.transact([sender.posting("parent", {"text": "done"})])
    async with Mailbox(stage.store, "s1", "parent").inbox() as inbox:
        letter = await inbox.receive()
    assert letter is not None
    assert (letter.sender, letter.body) == ("child", {"text": "done"})
