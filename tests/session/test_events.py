"""Typed events go through a record unharmed, whatever anybody writes; reading over all agents keeps the order."""

from __future__ import annotations

import asyncio
import json
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coordstore.errors import Trimmed
from coordstore.model import Append
from coordstore.names import RECORD_MAX
from coordstore.session import events
from coordstore.session.cursor import read_events
from coordstore.testing import MemoryStore
from tests.session.stage import Stage

KINDS = get_args(events.Event)
SAMPLES: list[events.Event] = [
    events.Assigned(task="t1", attempt=2, base="c0", hint="mind the gap"),
    events.StateChanged(old="pending", new="running", reason=None),
    events.Note(text="note"),
    events.Step(step=3, text="third"),
    events.ToolCall(name="edit", digest="ab" * 32, summary="a file"),
    events.ToolResult(name="edit", ok=False, summary="no such file"),
    events.FilesChanged(paths=("a", "b/c"), count=2),
    events.Message(text="hello"),
    events.Error(text="oh"),
    events.Usage(input_tokens=5, output_tokens=6, cost_usd=0.25),
    events.Progress(status="half", next_steps="the rest"),
    events.Completion(claim="failed", text="gave up"),
    events.CheckRun(command="make", ok=True, code=0, output="fine"),
    events.Leftovers(processes=("7 sleep",)),
    events.Integrated(merged=False, commit=None, reason="conflict", files=("a",)),
    events.ModelCall(),
    events.Pulse(up=9.5, still=9.0, quiet=4.0, cpu=0.25, output=77, files=2, looked=3),
    events.Verdict(detector="stall", action="stop", reason="hung", hint="be quick", evidence={"cpu": 0.0}),
    events.Watching(profile="claude", thresholds={"stall": 60.0}),
    events.Reviewed(state="approved", by="somebody", comment="fine"),
    events.Delegated(task="t1-1-1", name="Subtask: @codex"),
    events.Waiting(tasks=("t1-1-1",)),
    events.Woken(why="ended"),
    events.Returned(task="t1-1-1", state="completed", commit="c1"),
    events.Unknown(raw="?"),
]


def test_there_is_a_sample_of_every_kind() -> None:
    assert [type(sample) for sample in SAMPLES] == list(KINDS)


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_an_event_comes_back_as_it_went(event: events.Event) -> None:
    assert events.decode(events.encode(event)) == event


@given(st.sampled_from(SAMPLES), st.text())
@settings(max_examples=200)
def test_any_text_can_stand_in_an_event(event: events.Event, text: str) -> None:
    odd = text + "\udce9"
    fields = {name: odd for name, value in event if isinstance(value, str) and name not in ("type", "claim", "action")}
    made = type(event)(**{**dict(event), **fields})
    back = events.decode(events.encode(made))
    assert back == made
    assert events.encode(back).decode()


@pytest.mark.security(17)
@pytest.mark.parametrize("size", [RECORD_MAX, 4 * RECORD_MAX])
@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: event.type)
def test_an_event_that_no_record_can_hold_is_shortened(event: events.Event, size: int) -> None:
    long = {
        name: "x" * size for name, value in event if isinstance(value, str) and name not in ("type", "claim", "action")
    }
    many = {name: ("y" * 5000,) * 100 for name, value in event if isinstance(value, tuple)}
    made = type(event)(**{**dict(event), **long, **many})
    data = events.encode(made)
    assert len(data) <= RECORD_MAX
    assert type(events.decode(data)) is type(event)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[]",
        b"{}",
        b'{"type":"from the future","x":1}',
        b'{"type":"step","step":"many"}',
        b'{"type":["step"]}',
        b"[" * 100_000,
        b'{"type":"note","text":"\\ud800"}',
        b"9" * 10_000,
    ],
)
def test_what_is_no_event_of_ours_is_kept_whole(data: bytes) -> None:
    event = events.decode(data)
    assert isinstance(event, events.Unknown)
    assert event.raw == data.decode(errors="replace")
    assert isinstance(events.decode(events.encode(event)), events.Unknown)


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data: bytes) -> None:
    assert events.decode(data).type


def test_fields_of_a_later_version_are_passed_over() -> None:
    assert events.decode(b'{"type":"step","step":1,"mood":"good","at":"2026-01-01T00:00:00Z"}') == events.Step(
        step=1, at="2026-01-01T00:00:00Z"
    )


# Reading over all agents ---------------------------------------------------------------------------------------------


@pytest.mark.req("S7", "S8")
@given(
    st.lists(st.one_of(st.lists(st.sampled_from("abc"), min_size=1, max_size=4), st.just("read")), max_size=25),
    st.booleans(),
)
def test_a_cursor_meets_every_event_once_in_commit_order(steps: list[list[str] | str], through_json: bool) -> None:
    async def scenario() -> None:
        store = MemoryStore()
        cursor: dict[str, int] | None = None
        found = []
        for step in [*steps, "read"]:
            if isinstance(step, list):
                await store.transact(appends=[Append(f"s1/events/{agent}.1", b"{}") for agent in step])
                continue
            records, cursor = await read_events(store, "s1", cursor)
            cursor = json.loads(json.dumps(cursor)) if through_json else cursor
            found.extend(records)
        assert [record.revision for record in found] == sorted(record.revision for record in found)
        numbers = [(record.stream, record.sequence) for record in found]
        written = [agent for step in steps if isinstance(step, list) for agent in step]
        expected = {(f"s1/events/{agent}.1", at + 1) for agent in "abc" for at in range(written.count(agent))}
        assert len(numbers) == len(set(numbers))
        assert set(numbers) == expected

    asyncio.run(scenario())


@pytest.mark.req("S8")
async def test_a_cause_is_never_missing_before_its_effect() -> None:
    """Readers that run beside a chain of events, each appended to another stream once the one before is there."""
    store = MemoryStore()

    async def chain() -> None:
        for number in range(60):
            await store.append(f"s1/events/a{number % 7}.1", [str(number).encode()])

    async def reader() -> None:
        cursor = None
        seen: list[int] = []
        while len(seen) < 60:
            records, cursor = await read_events(store, "s1", cursor)
            seen.extend(int(record.data) for record in records)
            assert seen == list(range(len(seen)))
            await asyncio.sleep(0)

    await asyncio.gather(chain(), *(reader() for _ in range(5)))


class Busy(MemoryStore):
    """A store in which a cause and its effect are recorded while somebody reads: once it is known how far to read."""

    async def do_heads(self, prefix: str) -> dict[str, int]:
        heads = await super().do_heads(prefix)
        await self.append("s1/events/a.1", [b"cause"])
        await self.append("s1/events/b.1", [b"effect"])
        return heads


@pytest.mark.req("S8")
async def test_an_effect_recorded_during_the_reading_waits_for_its_cause() -> None:
    store = Busy()
    await store.append("s1/events/a.1", [b"1"])
    await store.append("s1/events/b.1", [b"2"])
    records, cursor = await read_events(store, "s1")
    assert [record.data for record in records] == [b"1", b"2"]
    records, _ = await read_events(store, "s1", cursor)
    assert [record.data for record in records] == [b"cause", b"effect"]


class Losing(MemoryStore):
    """A store in which one stream is dropped, and another one trimmed to its end, while somebody reads."""

    async def do_heads(self, prefix: str) -> dict[str, int]:
        heads = await super().do_heads(prefix)
        await self.drop("s1/events/a.1")
        await self.trim("s1/events/b.1", 1)
        return heads


@pytest.mark.req("S8")
async def test_what_goes_during_the_reading_is_not_waited_for() -> None:
    store = Losing()
    for agent in "abc":
        await store.append(f"s1/events/{agent}.1", [agent.encode()])
    records, _ = await read_events(store, "s1")
    assert [record.data for record in records] == [b"c"]


@pytest.mark.req("S8")
async def test_what_was_trimmed_before_the_first_read_is_passed_over_and_later_is_said() -> None:
    store = MemoryStore()
    await store.append("s1/events/a.1", [b"1", b"2", b"3"])
    await store.append("s1/events/b.1", [b"4"])
    await store.trim("s1/events/a.1", 2)
    await store.trim("s1/events/b.1", 1)
    records, cursor = await read_events(store, "s1")
    assert [record.data for record in records] == [b"3"]
    assert cursor == {"s1/events/a.1": 3, "s1/events/b.1": 1}
    await store.append("s1/events/b.1", [b"5", b"6"])
    await store.trim("s1/events/b.1", 2)
    with pytest.raises(Trimmed) as caught:
        await read_events(store, "s1", cursor)
    assert caught.value.first == 3


async def test_a_stream_that_was_begun_anew_is_said_and_not_passed_over() -> None:
    store = MemoryStore()
    await store.append("s1/events/a.1", [b"1", b"2", b"3"])
    _, cursor = await read_events(store, "s1")
    await store.drop("s1/events/a.1")
    assert await read_events(store, "s1", cursor) == ([], cursor)
    await store.append("s1/events/a.1", [b"new"])
    with pytest.raises(Trimmed) as caught:
        await read_events(store, "s1", cursor)
    assert caught.value.stream == "s1/events/a.1"


async def test_events_of_other_sessions_are_not_read() -> None:
    stage = await Stage("a1").create("t1")
    other = await Stage("a10").create("t1")
    other.store, other.session.store = stage.store, stage.store
    await stage.bring_all()
    await stage.store.append("a10/events/t1.1", [b"other"])
    records, cursor = await read_events(stage.store, "a1")
    assert {record.stream for record in records} == {"a1/events/t1.1"} == set(cursor)
