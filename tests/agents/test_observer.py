"""An observer tells the store what an agent does, at a bounded rate, and stops it at its limits."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.errors import Fenced, OutcomeUnknown, Unavailable
from coordstore.session import events
from coordstore_orchestrator.agents.output import open_reader
from coordstore_orchestrator.worker import observe
from coordstore_orchestrator.worker.observe import Observer, Sight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class FakeClaim:
    """Takes what is reported, or fails as it is told to."""

    agent = "t.1"

    def __init__(self) -> None:
        self.told: list[events.Event] = []
        self.values: dict[str, Any] = {}
        self.failures: list[Exception] = []
        self.writes = 0
        self.wrote = asyncio.Event()

    async def report(self, *told: events.Event, **values: object) -> None:
        self.writes += 1
        self.wrote.set()
        if self.failures:
            raise self.failures.pop(0)
        self.told += told
        self.values |= values


class Bench:
    """An observer with everything around it in our hands."""

    def __init__(self, output: str, **limits: float) -> None:
        self.now = 100.0
        self.claim = FakeClaim()
        self.files: list[str] = []
        self.record: bytes | None = None
        self.observer = Observer(
            self.claim,  # type: ignore[arg-type]  # what it uses of a claim
            open_reader(output),
            limits,
            Sight(self._files, self._record),
            clock=lambda: self.now,
        )

    async def _files(self) -> tuple[list[str], object]:
        return list(self.files), tuple(self.files)

    async def _record(self) -> bytes | None:
        found, self.record = self.record, None
        return found

    def line(self, found: object) -> None:
        self.observer.line("stdout", found if isinstance(found, bytes) else json.dumps(found).encode())

    async def pass_time(self, seconds: float, until: asyncio.Event | None = None) -> None:
        self.now += seconds
        self.observer._news.set()
        if until is not None:
            async with asyncio.timeout(30):
                await until.wait()


@asynccontextmanager
async def running(bench: Bench) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(bench.observer.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observe, "PAUSE", 0.0)


def bash(number: int) -> dict[str, Any]:
    content = [{"type": "tool_use", "id": str(number), "name": "Bash", "input": {"command": "ls"}}]
    return {"type": "assistant", "message": {"content": content}}


async def until(condition: Any) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  (what is waited for are several plain values)
            await asyncio.sleep(0.001)


@pytest.mark.req("W4")
async def test_events_and_step_are_written_while_the_agent_runs() -> None:
    bench = Bench("claude")
    async with running(bench):
        bench.line(bash(1))
        await until(lambda: bench.claim.values.get("step") == 1)
        bench.line(bash(2))
        await until(lambda: bench.claim.values.get("step") == 2)
    assert [event.type for event in bench.claim.told] == ["step", "tool_call"] * 2
    assert await bench.observer.finish() == []


@pytest.mark.req("M6")
async def test_steps_and_cost_are_limits() -> None:
    bench = Bench("claude", steps=2, cost=1.5)
    bench.line(bash(1))
    bench.line(bash(2))
    assert not bench.observer.stop.asked
    bench.line(bash(3))
    assert bench.observer.stop.code == "steps"
    assert bench.observer.stop.reason == "stopped after its limit of 2 steps"
    bench = Bench("claude", cost=1.5)
    bench.line({"type": "result", "total_cost_usd": 1.5})
    assert not bench.observer.stop.asked
    bench.line({"type": "result", "total_cost_usd": 1.75})
    assert bench.observer.stop.reason == "stopped at 1.75 $, over its limit of 1.5 $"


@pytest.mark.req("M6")
async def test_errors_and_lines_without_sense_are_no_sign_of_life() -> None:
    bench = Bench("claude", idle=10)
    async with running(bench):
        await bench.pass_time(6)
        bench.line(bash(1))
        await bench.pass_time(6)
        bench.line(b"retrying")
        bench.line({"type": "system", "subtype": "api_retry", "error_status": 500, "error": "server"})
        await until(lambda: len(bench.claim.told) == 3)
        assert not bench.observer.stop.asked
        await bench.pass_time(5)
        await until(lambda: bench.observer.stop.asked)
    assert bench.observer.stop.code == "idle"


@pytest.mark.req("M6", "W4")
async def test_output_and_file_changes_are_the_life_and_the_steps_of_a_plain_command() -> None:
    bench = Bench("plain", idle=10)
    async with running(bench):
        await bench.pass_time(6)
        bench.line(b"hello")
        await until(lambda: bench.claim.values.get("step") == 1)
        bench.files = ["a.txt"]
        await bench.pass_time(6)
        await until(lambda: bench.claim.values.get("step") == 2)
        assert bench.claim.told[-2:] == [
            events.FilesChanged(at=bench.claim.told[-2].at, paths=("a.txt",), count=1),
            events.Step(at=bench.claim.told[-1].at, step=2),
        ]
        await bench.pass_time(6)  # nothing happens: neither a step nor an event
        await bench.pass_time(4.5)
        await until(lambda: bench.observer.stop.asked)
    assert bench.claim.values["step"] == 2


@pytest.mark.req("W7")
async def test_an_agent_that_only_gets_refused_is_stopped_before_its_retries_end() -> None:
    refused = {"type": "system", "subtype": "api_retry", "error_status": 401, "error": "authentication_failed"}
    bench = Bench("claude")
    bench.line(refused)
    bench.line(refused)
    assert not bench.observer.stop.asked
    bench.line(refused)
    assert bench.observer.stop.code == "start"
    assert (found := bench.observer.trouble(""))
    assert found.code == "auth"
    busy = Bench("claude")
    busy.line(bash(1))
    for _ in range(5):
        busy.line(refused)
    assert not busy.observer.stop.asked
    assert busy.observer.trouble("status 401") is None


@pytest.mark.req("W4")
async def test_a_flood_of_events_is_bounded_and_told_of() -> None:
    bench = Bench("claude")
    for number in range(1000):
        bench.line(bash(number))
    async with running(bench):
        await until(lambda: bench.claim.values.get("step") == 1000 and not bench.observer._waiting)
    assert len(bench.claim.told) == observe.BACKLOG + 1
    assert bench.claim.told[0].type == "note"
    assert "1744 events were left out" in str(bench.claim.told[0])


@pytest.mark.req("W4")
async def test_what_the_store_did_not_take_is_told_later_and_never_twice() -> None:
    bench = Bench("claude")
    bench.claim.failures = [Unavailable("away"), OutcomeUnknown("cut")]
    async with running(bench):
        bench.line(bash(1))
        await bench.claim.wrote.wait()
        await bench.pass_time(1)
        await until(lambda: bench.claim.writes == 2)
        bench.line(bash(2))
        await until(lambda: bench.claim.values.get("step") == 2)
    assert [event.type for event in bench.claim.told] == ["step", "tool_call"]
    assert bench.claim.told[0] == events.Step(at=bench.claim.told[0].at, step=2)


async def test_one_whose_claim_is_gone_writes_no_more() -> None:
    bench = Bench("claude")
    bench.claim.failures = [Fenced("gone")]
    async with running(bench) as task:
        bench.line(bash(1))
        await asyncio.wait_for(task, 30)
        bench.line(bash(2))
    assert await bench.observer.finish() != []
    assert bench.claim.writes == 1


@pytest.mark.req("W4")
async def test_the_end_of_the_record_is_read_when_the_agent_has_ended() -> None:
    bench = Bench("mini")
    message = {"role": "assistant", "content": "hi", "extra": {"actions": [{"command": "ls"}]}}
    bench.record = json.dumps({"messages": [message]}).encode()
    left = await bench.observer.finish()
    assert [event.type for event in [*bench.claim.told, *left]] == ["step", "message", "tool_call"]
    assert bench.claim.values == {"step": 1}


@pytest.mark.req("W3", "W4")
@pytest.mark.parametrize("turns", range(4))
async def test_it_ends_when_it_is_cancelled_as_news_comes(monkeypatch: pytest.MonkeyPatch, turns: int) -> None:
    """Cancelled so many turns of the loop after news came: a cancellation that gets lost leaves its attempt hanging."""
    monkeypatch.setattr(observe, "PAUSE", 0)
    bench = Bench("plain")
    running = asyncio.create_task(bench.observer.run())
    for _ in range(20):  # it waits for news by then
        await asyncio.sleep(0)
    bench.observer.take([events.Note(text="news")])
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait({running}, timeout=20)
    lost = not running.done()
    while not running.done():
        running.cancel()
        await asyncio.sleep(0)
    assert not lost
