"""What real agents printed, read back: the recordings were made by running each program against a scripted model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coordstore.session import events
from coordstore.session.events import decode, encode
from coordstore_orchestrator.agents import known_profiles
from coordstore_orchestrator.agents.output import Reader, UnknownOutput, known_outputs, open_reader
from coordstore_orchestrator.agents.output.reader import digest

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORDINGS = Path(__file__).parent / "recordings"
FORMATS = ("claude", "codex", "gemini", "mini", "opencode", "pi", "plain")


def lines(name: str) -> list[bytes]:
    return (RECORDINGS / name).read_bytes().splitlines()


def read(output: str, given: Sequence[bytes]) -> tuple[Reader, list[events.Event]]:
    """Feed lines to a reader; every event survives the way into a store and back."""
    reader = open_reader(output)
    told = [event for line in given for event in reader.feed("stdout", line)] + reader.finish()
    assert [decode(encode(event)) for event in told] == told
    return reader, told


def shown(told: Sequence[events.Event]) -> list[tuple[Any, ...]]:
    """Return events without what differs from agent to agent."""
    rows: list[tuple[Any, ...]] = []
    for event in told:
        if isinstance(event, events.ToolCall):
            rows.append(("call", event.name, event.summary))
        elif isinstance(event, events.ToolResult):
            rows.append(("result", event.name, event.ok))
        elif isinstance(event, events.Message | events.Error):
            rows.append((event.type, event.text))
        elif isinstance(event, events.Usage):
            rows.append(("usage", event.input_tokens, event.output_tokens))
    return rows


@pytest.mark.req("W4")
def test_claude_code() -> None:
    reader, told = read("claude", lines("claude.jsonl"))
    assert shown(told) == [
        ("call", "Write", "calc.py"),
        ("result", "Write", True),
        ("call", "Bash", "ls nonexistent"),
        ("result", "Bash", False),
        ("call", "Bash", "ls"),
        ("result", "Bash", True),
        ("call", "Bash", "ls"),
        ("result", "Bash", True),
        ("message", "Done."),
        ("usage", 510, 100),
    ]
    assert (reader.steps, reader.failed, reader.said, reader.acted, reader.unknown) == (5, None, "Done.", True, 0)
    assert [event.step for event in told if isinstance(event, events.Step)] == [1, 2, 3, 4, 5]
    assert told[-1] == events.Usage(at=told[-1].at, input_tokens=510, output_tokens=100, cost_usd=0.00303)
    calls = [event.digest for event in told if isinstance(event, events.ToolCall)]
    assert calls[2] == calls[3] != calls[1]


@pytest.mark.req("W4")
def test_codex() -> None:
    reader, told = read("codex", lines("codex.jsonl"))
    assert shown(told)[2:] == [
        ("call", "command_execution", "/bin/bash -lc 'ls nonexistent'"),
        ("result", "command_execution", False),
        ("call", "command_execution", "/bin/bash -lc ls"),
        ("result", "command_execution", True),
        ("call", "command_execution", "/bin/bash -lc ls"),
        ("result", "command_execution", True),
        ("message", "Done."),
        ("usage", 510, 100),
    ]
    assert (reader.steps, reader.failed, reader.unknown) == (5, None, 0)
    changes = [{"path": "/w/a.py", "kind": "add"}]
    item = {"id": "i", "type": "file_change", "changes": changes, "status": "completed"}
    _, told = read("codex", [json.dumps({"type": "item.completed", "item": item}).encode()])
    assert [event.type for event in told] == ["step", "tool_call", "files", "tool_result"]


@pytest.mark.req("W4")
def test_gemini() -> None:
    reader, told = read("gemini", lines("gemini.jsonl"))
    assert shown(told) == [
        ("call", "write_file", "calc.py"),
        ("result", "write_file", True),
        ("call", "run_shell_command", "ls nonexistent"),
        ("result", "run_shell_command", True),  # what it says; nothing in its stream tells that it failed
        ("call", "run_shell_command", "ls"),
        ("result", "run_shell_command", True),
        ("message", "Done."),
        ("usage", 400, 80),
    ]
    assert (reader.steps, reader.failed, reader.unknown) == (4, None, 0)
    failed = {"type": "tool_result", "tool_id": "1", "status": "success", "output": "Output: (empty)\nExit Code: 2"}
    assert shown(read("gemini", [json.dumps(failed).encode()])[1]) == [("result", None, False)]


@pytest.mark.req("W4")
def test_opencode() -> None:
    reader, told = read("opencode", lines("opencode.jsonl"))
    assert shown(told)[:6] == [
        ("call", "write", "calc.py"),
        ("result", "write", True),
        ("usage", 100, 20),
        ("call", "bash", "ls nonexistent"),
        ("result", "bash", False),
        ("usage", 201, 40),
    ]
    assert (reader.said, reader.failed, reader.unknown) == ("Done.", None, 0)


@pytest.mark.req("W4")
def test_qwen_code() -> None:
    reader, told = read("claude", lines("qwen.jsonl"))
    assert shown(told)[:4] == [
        ("call", "write_file", "calc.py"),
        ("result", "write_file", False),
        ("call", "run_shell_command", "ls nonexistent"),
        ("result", "run_shell_command", True),
    ]
    assert (reader.steps, reader.said, reader.failed, reader.unknown) == (4, "Done.", None, 0)


@pytest.mark.req("W4")
def test_pi() -> None:
    reader, told = read("pi", lines("pi.jsonl"))
    without_usage = [row for row in shown(told) if row[0] != "usage"]
    assert without_usage == [
        ("call", "write", "/w/pi/calc.py"),
        ("result", "write", True),
        ("call", "bash", "ls nonexistent"),
        ("result", "bash", False),
        ("call", "bash", "ls"),
        ("result", "bash", True),
        ("message", "Done."),
    ]
    assert shown(told)[-1] == ("usage", 400, 80)
    assert (reader.steps, reader.failed, reader.unknown) == (4, None, 0)


@pytest.mark.req("W4")
def test_mini_swe_agent_writes_a_record_that_grows() -> None:
    whole = json.loads((RECORDINGS / "mini.json").read_bytes())
    reader = open_reader("mini")
    told: list[events.Event] = []
    for length in range(len(whole["messages"]) + 1):
        data = json.dumps({**whole, "messages": whole["messages"][:length]}).encode()
        told += reader.record(data[: len(data) // 2])  # caught while it is being written
        told += reader.record(data)
        told += reader.record(data)
    calls = [row for row in shown(told) if row[0] in ("call", "result")]
    assert [row[0] for row in calls] == ["call", "result"] * 3
    assert calls[0][1] == "bash"
    assert (reader.steps, reader.failed, reader.unknown) == (3, None, 0)
    stopped = {"role": "exit", "content": "", "extra": {"exit_status": "LimitsExceeded", "submission": ""}}
    told = reader.record(json.dumps({"messages": [*whole["messages"], stopped]}).encode())
    assert shown(told)[0] == ("error", "LimitsExceeded")
    assert reader.failed == "LimitsExceeded"


@pytest.mark.req("W4")
def test_a_plain_command_says_what_it_printed_last() -> None:
    reader, told = read("plain", lines("aider.txt"))
    assert told == []
    assert reader.said == "sys\t0m0.748s"
    reader.feed("stderr", b"not this")
    assert reader.said == "sys\t0m0.748s"


@pytest.mark.req("W4")
@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("name", sorted(path.name for path in RECORDINGS.iterdir()))
def test_another_agents_stream_breaks_nothing(output: str, name: str) -> None:
    read(output, lines(name))
    read(output, [line[: len(line) // 2] for line in lines(name)])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KINDS = (
    *("assistant", "user", "result", "item.started", "item.completed", "turn.completed", "turn.failed", "error"),
    *("message", "tool_use", "tool_result", "step_start", "step_finish", "text", "turn_start", "message_end"),
    *("tool_execution_start", "tool_execution_end", "tool", "exit"),
)
NAMES = (
    *("message", "item", "part", "content", "usage", "error", "extra", "state", "result", "stats", "role", "id"),
    *("actions", "changes", "metadata", "tokens", "input", "status", "cost", "type", "name", "stopReason"),
)
OBJECTS = st.builds(
    lambda kind, rest: {**rest, "type": kind, "role": rest.get("role", kind)},
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(NAMES), JSON | st.dictionaries(st.sampled_from(NAMES), JSON), max_size=5),
)


@pytest.mark.security(12)
@pytest.mark.req("W4")
@pytest.mark.parametrize("output", FORMATS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(given_lines=st.lists(OBJECTS.map(lambda found: json.dumps(found).encode()) | st.binary(max_size=30), max_size=4))
def test_no_line_breaks_a_run(output: str, given_lines: list[bytes]) -> None:
    read(output, given_lines)
    reader = open_reader(output)
    reader.record(b'{"messages":[' + b",".join(given_lines) + b"]}")


@pytest.mark.security(12)
@pytest.mark.req("W4")
@pytest.mark.parametrize("output", FORMATS)
def test_deep_huge_and_odd_json_breaks_nothing(output: str) -> None:
    odd = [
        b"[" * 100_000,
        b'{"type":' * 50_000,
        b'{"type":"result","usage":{"input_tokens":1e400,"output_tokens":-5},"total_cost_usd":NaN}',
        b'{"type":"result","usage":{"input_tokens":' + b"9" * 4000 + b"}}",
        b'{"type":"assistant","message":{"content":[{"type":"text","text":"' + b"x" * 500_000 + b'"}]}}',
        b'{"type":"assistant","message":{"content":[{"type":"text","text":"\\ud800"}]}}',
        b"\xff\xfe\x00",
    ]
    reader, told = read(output, odd)
    assert all(len(encode(event)) < 10_000 for event in told)
    assert reader.unknown >= 2 or output in ("plain", "mini")


@pytest.mark.req("W4")
def test_equal_calls_have_equal_digests() -> None:
    assert digest({"a": 1, "b": "ü"}) == digest({"b": "ü", "a": 1}) != digest({"a": 1})


@pytest.mark.req("W1")
def test_every_profile_names_a_format_that_exists() -> None:
    assert set(FORMATS) == set(known_outputs())
    for profile in known_profiles().values():
        assert profile.output in known_outputs(), profile.name
        assert open_reader(profile.output).steps == 0
    with pytest.raises(UnknownOutput, match="no output format 'x': there are claude, codex"):
        open_reader("x")
