"""A run that is observed from outside: its log, and its traces at a collector."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PLAN: dict[str, dict[str, Any]] = {"t1": {}, "t2": {"sh": "exit 3"}}


class Collector(BaseHTTPRequestHandler):
    """Takes spans as OTLP over HTTP."""

    names: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        assert self.headers.get("Content-Encoding") is None
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.names.extend(span.name for span in scope.spans)
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def collector() -> Iterator[tuple[str, list[str]]]:
    """Return the address of a collector and the names of the spans it got."""
    names: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Here", (Collector,), {"names": names}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", names
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.req("O2")
def test_a_collector_gets_the_spans_of_session_tasks_and_attempts(place: Any, collector: tuple[str, list[str]]) -> None:
    address, names = collector
    plan = place.plan(PLAN)
    done = place.coord("run", plan, "--session", "s", OTEL_EXPORTER_OTLP_ENDPOINT=address)
    assert done.code == 3, done.err
    assert sorted(names) == ["attempt t1.1", "attempt t2.1", "session s", "task t1", "task t2"]


@pytest.mark.req("O2")
def test_a_collector_that_is_not_there_costs_no_work(place: Any) -> None:
    done = place.coord("run", place.plan(PLAN), "--session", "s", OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:9")
    assert done.code == 3
    assert done.last == "git merge coord/s"
    assert "Traceback" not in done.err


@pytest.mark.req("O1")
def test_every_line_of_the_log_names_session_task_agent_and_worktree(place: Any) -> None:
    assert place.run(place.plan(PLAN)).code == 3
    (log,) = (place.folder / "state").glob("*/sessions/s/coord.log")
    assert log.stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert all({"time", "level", "event", "session", "task", "agent", "worktree"} <= line.keys() for line in lines)
    agents = {line["agent"] for line in lines}
    assert {"t1.1", "t2.1"} <= agents
    started = next(line for line in lines if line["agent"] == "t1.1")
    assert started["task"] == "t1"
    assert started["worktree"] == _worktree(log, "t1.1")
    said = [line["event"] for line in lines]
    assert any(text.startswith("t2.1 ended as failed") for text in said)
    assert "worktree of t1.1 removed" in said


def _worktree(log: Path, agent: str) -> str:
    return str(log.parent / "worktrees" / agent)
