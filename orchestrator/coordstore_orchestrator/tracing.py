"""OpenTelemetry traces of a session: one span for it, below it one for each task, below that one for each attempt.

They are made from views of the session, with the times that the store holds, so what runs on another host is traced
too. Attempts that had ended before this process came are left out: whoever ran then has told of them.
"""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from coordstore.cli.times import parse_time
from coordstore.session import FINAL, State
from coordstore_orchestrator.monitor.decide import settled

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from coordstore.session import Attempt, SessionView, Task

__all__ = ["Traces", "open_traces"]

ENDPOINTS: Final = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
NAME: Final = "coordstore"
PATIENCE: Final = 5.0
"""Seconds that the end of a run waits for the last spans to be sent."""


def open_traces(environ: Mapping[str, str], say: Callable[[str], None]) -> Traces | None:
    """Return what traces a run if the environment names a collector as OpenTelemetry does, else None.

    Args:
        environ: The environment; ``OTEL_SDK_DISABLED=true`` turns it off.
        say: Told when a collector is named and the extra is not installed, which is no error.
    """
    if environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(environ.get(name) for name in ENDPOINTS):
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        say("nothing is traced, though OTEL_EXPORTER_OTLP_ENDPOINT is set: pip install 'coordstore[otel]'")
        return None
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider)


class Traces:
    """Makes the spans of one session.

    Args:
        provider: Where they go.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer(NAME)
        self._session: Span | None = None
        self._tasks: dict[str, Span] = {}
        self._attempts: dict[str, Span] = {}
        self._told: set[str] = set()

    def __repr__(self) -> str:
        """Show how many spans are open."""
        return f"<Traces: {len(self._tasks)} tasks, {len(self._attempts)} attempts open>"

    def seen(self, view: SessionView) -> None:
        """Begin and end what began and ended since the view before."""
        if not view.ready:
            return
        first = self._session is None
        if first:
            self._begin(view)
        for task in view.ordered(None if first else view.changed):
            for attempt in task.attempts:
                self._follow(task, attempt)
            if task.id in self._tasks and settled(view, task):
                self._end_task(view, task)

    def _begin(self, view: SessionView) -> None:
        attributes = {"coord.session": view.session, "coord.goal": str(view.meta.get("goal") or "")}
        self._session = self._tracer.start_span(f"session {view.session}", attributes=attributes)
        self._told = {each.agent for task in view.tasks.values() for each in task.attempts if each.state in FINAL}

    def _follow(self, task: Task, attempt: Attempt) -> None:
        started = _nanoseconds(attempt.text("started"))
        if attempt.agent in self._told or (started is None and attempt.state not in FINAL):
            return
        if attempt.agent not in self._attempts:
            parent = self._tasks.get(task.id) or self._start_task(task, started)
            about = {"coord.task": task.id, "coord.agent": attempt.agent}
            self._attempts[attempt.agent] = self._start(f"attempt {attempt.agent}", parent, about, started)
        if attempt.state in FINAL:
            self._told.add(attempt.agent)
            _end_attempt(self._attempts.pop(attempt.agent), attempt)

    def _start_task(self, task: Task, started: int | None) -> Span:
        about = {"coord.task": task.id, "coord.task.name": task.name}
        span = self._tasks[task.id] = self._start(f"task {task.id}", self._session, about, started)
        return span

    def _start(self, name: str, parent: Span | None, about: dict[str, Any], started: int | None) -> Span:
        from opentelemetry.trace import set_span_in_context

        context = set_span_in_context(parent) if parent is not None else None
        return self._tracer.start_span(name, context=context, attributes=about, start_time=started)

    def _end_task(self, view: SessionView, task: Task) -> None:
        span = self._tasks.pop(task.id)
        span.set_attribute("coord.attempts", len(task.attempts))
        span.set_attribute("coord.merged", bool(view.merged(task.id).get("merged")))
        good = task.state is State.COMPLETED and view.left_out(task.id) is None
        _end(span, None if good else view.reason(task) or str(task.state))

    async def close(self, view: SessionView) -> None:
        """End what is open and send it; one that cannot be sent in a few seconds is given up."""
        self.seen(view)
        for span in (*self._attempts.values(), *self._tasks.values()):
            _end(span, "cut short")
        if self._session is not None:
            self._session.set_attribute("coord.state", view.state)
            _end(self._session, None if view.state == "completed" else view.state)
        sent = threading.Event()
        # Not a thread of the loop's own, whose end the loop would wait for.
        threading.Thread(target=self._shut_down, args=(sent,), daemon=True).start()
        await asyncio.to_thread(sent.wait, PATIENCE)

    def _shut_down(self, sent: threading.Event) -> None:
        try:
            self._provider.shutdown()
        finally:
            sent.set()


def _end_attempt(span: Span, attempt: Attempt) -> None:
    for name in ("host", "branch", "worktree"):
        if (said := attempt.text(name)) is not None:
            span.set_attribute(f"coord.{name}", said)
    for name in ("pid", "step"):
        if (number := attempt.number_of(name)) is not None:
            span.set_attribute(f"coord.{name}", number)
    span.set_attribute("coord.state", str(attempt.state))
    span.set_attribute("coord.code", str(attempt.result.get("code") or ""))
    reason = attempt.reason or str(attempt.state)
    _end(span, None if attempt.state is State.COMPLETED else reason, _nanoseconds(attempt.text("ended")))


def _end(span: Span, wrong: str | None, at: int | None = None) -> None:
    from opentelemetry.trace import Status, StatusCode

    span.set_status(Status(StatusCode.OK) if wrong is None else Status(StatusCode.ERROR, wrong))
    span.end(at or time.time_ns())


def _nanoseconds(text: str | None) -> int | None:
    moment = parse_time(text)
    return int(moment.timestamp() * 1_000_000) * 1000 if moment else None
