"""What the keys of the live view do, without a terminal."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.cli import live as module
from coordstore.cli.live import Live, latest_events, run_command
from coordstore.cli.screen import named_keys
from coordstore.cli.text import Style, width_of
from coordstore.testing import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore.session.view import SessionView

NOW = datetime(2030, 1, 31, 12, 10, tzinfo=UTC)


class Bench:
    """A live view, and the commands that it would run."""

    def __init__(self) -> None:
        self.ran: list[Sequence[str]] = []
        self.live = Live(self.ran.append)

    def press(self, view: SessionView, *keys: str) -> None:
        for key in keys:
            self.live.key(key, view)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.setattr(module, "commands", lambda: {"cancel": None, "retry": None})
    return Bench()


@pytest.fixture
async def view(storyteller: Any) -> SessionView:
    async with MemoryStore() as store:
        tale = storyteller(store)
        await tale.tell()
        found: SessionView = await tale.session.view()
        return found


@pytest.mark.req("C1")
async def test_up_and_down_go_round(bench: Bench, view: SessionView) -> None:
    order = [task.id for task in view.ordered()]
    bench.press(view, "down")
    assert bench.live.selected == order[0]
    bench.press(view, "up")
    assert bench.live.selected == order[-1]
    bench.press(view, "down", "down")
    assert bench.live.selected == order[1]


@pytest.mark.req("C1")
@pytest.mark.parametrize(("key", "command"), [("c", "cancel"), ("r", "retry")])
async def test_nothing_is_done_without_an_answer(bench: Bench, view: SessionView, key: str, command: str) -> None:
    bench.press(view, key)
    assert bench.live.message.startswith("select a task first")
    bench.press(view, "down", key, "q")
    assert bench.ran == []
    assert not bench.live.quit
    bench.press(view, key, "y")
    assert bench.ran == [[command, "shop", bench.live.selected]]


async def test_a_command_that_is_not_installed_is_not_offered(
    bench: Bench, view: SessionView, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "commands", dict)
    bench.press(view, "down", "r", "y")
    assert bench.ran == []
    bench.press(view, "r")
    assert bench.live.message == "there is no command retry here"


async def test_escape_closes_the_panel_and_then_the_view(bench: Bench, view: SessionView) -> None:
    bench.press(view, "down", "e")
    assert bench.live.agent(view)
    bench.press(view, "escape")
    assert bench.live.agent(view) == ""
    assert not bench.live.quit
    bench.press(view, "escape")
    assert bench.live.quit


@pytest.mark.parametrize("width", [30, 60, 80, 200])
@pytest.mark.parametrize("rows", [10, 16, 24, 60])
async def test_a_picture_fits_whatever_is_open(bench: Bench, view: SessionView, width: int, rows: int) -> None:
    for keys in ((), ("down",), ("e",), ("c",)):
        bench.press(view, *keys)
        lines = bench.live.lines(view, NOW, Style(width=width), rows)
        assert len(lines) <= rows
        typed = [line for line in lines if line.startswith("  next")]
        assert all(width_of(line) <= max(width, 40) for line in lines if line not in typed)


async def test_the_selected_task_is_always_among_those_shown(bench: Bench, view: SessionView) -> None:
    for task in view.ordered():
        bench.press(view, "down")
        lines = bench.live.lines(view, NOW, Style(width=80), 14)
        assert any(line.startswith(f"▸ {task.id} ") for line in lines), "\n".join(lines)


async def test_the_last_events_of_a_stream_are_read_behind_a_trim_too() -> None:
    async with MemoryStore() as store:
        assert await latest_events(store, "s/events/a.1") == []
        await store.append("s/events/a.1", [b"%d" % number for number in range(30)])
        assert [record.sequence for record in await latest_events(store, "s/events/a.1", 3)] == [28, 29, 30]
        await store.trim("s/events/a.1", 29)
        assert [record.sequence for record in await latest_events(store, "s/events/a.1", 3)] == [30]


async def test_a_command_says_its_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c", "import sys; print('a'); print(*sys.argv[1:])"))
    assert await run_command("memory:x", ["cancel", "s", "t"]) == "--store memory:x cancel s t"
    monkeypatch.setattr(module, "PROGRAM", (sys.executable, "-c", ""))
    assert await run_command("memory:x", ["cancel"]) == "cancel: done"


def test_keys_have_names_and_other_sequences_mean_nothing() -> None:
    typed = b"jK\x1b[A\x1bOB\x1b[1;5C\x1b[<0;1;1Mq\r\xff1 \x1b"
    assert named_keys(typed) == ["down", "up", "up", "down", "q", "enter", "escape"]
