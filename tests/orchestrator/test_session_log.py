"""The session's log: every line says which session, task, agent and worktree it is about."""

from __future__ import annotations

import asyncio
import json
import logging
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from coordstore_orchestrator.logs import JsonLines, about

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def lines(tmp_path: Path) -> JsonLines:
    return JsonLines("mill", ["t1", "t2"], tmp_path)


def told(lines: JsonLines, message: str, *args: object, **more: Any) -> dict[str, Any]:
    record = logging.LogRecord("coordstore.x", logging.INFO, __file__, 1, message, args, None, **more)
    text = lines.format(record)
    assert "\n" not in text
    found: dict[str, Any] = json.loads(text)
    return found


@pytest.mark.req("O1")
def test_an_agent_among_the_arguments_says_whom_it_is_about(lines: JsonLines, tmp_path: Path) -> None:
    line = told(lines, "%s failed: %s", "t1.2", "no\nreason")
    assert (line["session"], line["task"], line["agent"]) == ("mill", "t1", "t1.2")
    assert line["worktree"] == str(tmp_path / "t1.2")
    assert line["event"] == "t1.2 failed: no\nreason"
    assert line["level"] == "info"


@pytest.mark.req("O1")
@pytest.mark.parametrize(
    ("argument", "task", "agent"),
    [
        ("t2", "t2", None),
        (SimpleNamespace(task="t2", agent="t2.1"), "t2", "t2.1"),
        (SimpleNamespace(task="t2"), "t2", None),
        ("other.1", None, None),
        ("no task", None, None),
        (3, None, None),
    ],
)
def test_tasks_and_actions_say_it_too_and_nothing_else(
    lines: JsonLines, argument: object, task: str | None, agent: str | None
) -> None:
    line = told(lines, "about %s", argument)
    assert (line["task"], line["agent"]) == (task, agent)
    assert {"session", "task", "agent", "worktree"} <= line.keys()


@pytest.mark.req("O1")
async def test_a_line_of_an_attempts_own_task_is_about_that_attempt(lines: JsonLines) -> None:
    async def work(agent: str) -> str | None:
        about.set(agent)
        await asyncio.sleep(0)
        found: str | None = told(lines, "something happened")["agent"]
        return found

    assert [*await asyncio.gather(work("t1.1"), work("t2.1"))] == ["t1.1", "t2.1"]
    assert told(lines, "something happened")["agent"] is None


def test_an_exception_and_odd_texts_stay_in_their_line(lines: JsonLines) -> None:
    with pytest.raises(ValueError, match="invalid literal") as raised:
        int("\udc80\n")
    info = (raised.type, raised.value, raised.tb)
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, "broke", (), info)
    line = json.loads(lines.format(record))
    assert "ValueError" in line["exception"]
