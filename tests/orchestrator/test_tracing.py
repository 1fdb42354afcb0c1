"""Traces of a session: the spans that its views make, in the SDK's own memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from coordstore.session import State
from coordstore.session.session import Session, as_value
from coordstore.testing import MemoryStore
from coordstore_orchestrator.tracing import Traces, open_traces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from opentelemetry.sdk.trace import ReadableSpan

BASE = "b" * 40


class Stage:
    """A session, and what is traced of it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.exporter = InMemorySpanExporter()
        provider = TracerProvider()
        provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.traces = Traces(provider)

    async def look(self) -> None:
        self.traces.seen(await self.session.view())

    async def start(self, task: str) -> Any:
        await self.session.assign((await self.session.view()).tasks[task], BASE)
        latest = (await self.session.view()).tasks[task].latest
        assert latest
        claim = await self.session.claim(latest.agent, (), {"host": "h"}, await self.session.store.grant(60))
        await self.session.store.put(self.session.keys.agent(latest.agent, "started"), b"2030-01-31T12:00:00Z")
        return claim

    async def finish(self, claim: Any, new: State, **result: Any) -> None:
        await claim.report(worktree=f"/w/{claim.agent}", pid=7, step=3)
        await claim.finish(new, result)
        await self.session.store.put(self.session.keys.agent(claim.agent, "ended"), b"2030-01-31T12:00:30Z")

    async def merged(self, task: str) -> None:
        await self.session.store.put(self.session.keys.merged(task), as_value({"merged": True}))

    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with MemoryStore() as store:
        session = Session(store, "mill")
        await session.create({"goal": "Grind", "digest": "d"}, {"one": {"limits": {"attempts": 2}}, "two": {}})
        yield Stage(session)


@pytest.mark.req("O2")
async def test_attempts_lie_in_their_task_and_tasks_in_the_session(stage: Stage) -> None:
    await stage.look()
    first = await stage.start("one")
    await stage.look()
    await stage.finish(first, State.FAILED, reason="exit status 1", code="exit")
    await stage.look()
    second = await stage.start("one")
    await stage.finish(second, State.COMPLETED, commit=BASE)
    await stage.look()
    assert set(stage.spans()) == {"attempt one.1", "attempt one.2"}
    await stage.merged("one")
    await stage.look()
    await stage.traces.close(await stage.session.view())
    spans = stage.spans()
    assert set(spans) == {"attempt one.1", "attempt one.2", "task one", "session mill"}
    (trace,) = {span.context.trace_id for span in spans.values() if span.context}
    assert trace
    for child, parent in (("attempt one.1", "task one"), ("attempt one.2", "task one"), ("task one", "session mill")):
        found, context = spans[child].parent, spans[parent].context
        assert found is not None
        assert context is not None
        assert found.span_id == context.span_id


@pytest.mark.req("O1", "O2")
async def test_a_span_has_the_times_and_the_facts_of_the_store(stage: Stage) -> None:
    await stage.look()
    await stage.finish(await stage.start("one"), State.FAILED, reason="exit status 1", code="exit")
    await stage.look()
    span = stage.spans()["attempt one.1"]
    assert span.start_time is not None
    assert span.end_time is not None
    assert span.end_time - span.start_time == 30 * 10**9
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "exit status 1"
    told = dict(span.attributes or {})
    assert told == {
        "coord.task": "one",
        "coord.agent": "one.1",
        "coord.host": "h",
        "coord.worktree": "/w/one.1",
        "coord.pid": 7,
        "coord.step": 3,
        "coord.state": "failed",
        "coord.code": "exit",
    }


async def test_what_ended_before_this_process_came_is_not_traced_again(stage: Stage) -> None:
    await stage.finish(await stage.start("one"), State.COMPLETED)
    await stage.merged("one")
    await stage.look()
    await stage.look()
    await stage.finish(await stage.start("two"), State.COMPLETED)
    await stage.traces.close(await stage.session.view())
    assert set(stage.spans()) == {"attempt two.1", "task two", "session mill"}


async def test_what_is_open_at_the_end_is_ended_as_cut_short(stage: Stage) -> None:
    await stage.look()
    await stage.start("one")
    await stage.traces.close(await stage.session.view())
    assert stage.spans()["attempt one.1"].status.description == "cut short"


@pytest.mark.parametrize("environ", [{}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}])
def test_nothing_is_traced_unless_a_collector_is_named(environ: dict[str, str]) -> None:
    said: list[str] = []
    assert open_traces(environ, said.append) is None
    assert said == []


def test_without_the_extra_a_run_says_so_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "opentelemetry.sdk.trace.export", None)
    said: list[str] = []
    assert open_traces({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x"}, said.append) is None
    assert "coordstore[otel]" in said[0]
