"""`coord inspect --watch`: live in a terminal of 80x24, as lines in a pipe, as documents for programs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.cli.text import width_of
from coordstore.session import State, events

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

PROGRAM = [sys.executable, "-c", "from coordstore.cli.main import main; main()"]
MANY = {f"t{number}": {"name": f"Task number {number}", "needs": []} for number in range(40)}
DEADLINE = 20.0


class Terminal:
    """A terminal of tmux, with a shell that waits for a line to run."""

    def __init__(self, folder: Path, width: int = 80, height: int = 24) -> None:
        self._socket = str(folder / "tmux")
        self._tmux("-f", "/dev/null", "new-session", "-d", "-x", str(width), "-y", str(height), "sh")

    def _tmux(self, *args: str) -> str:
        done = subprocess.run(["tmux", "-S", self._socket, *args], check=True, capture_output=True)
        return done.stdout.decode()

    def run(self, argv: list[str]) -> None:
        self.type(f"clear; {shlex.join(argv)}; echo ended with $?\n")

    def type(self, keys: str) -> None:
        self._tmux("send-keys", "-l", keys)

    def press(self, key: str) -> None:
        self._tmux("send-keys", key)

    def resize(self, width: int, height: int) -> None:
        self._tmux("resize-window", "-x", str(width), "-y", str(height))

    def screen(self) -> list[str]:
        return self._tmux("capture-pane", "-p").rstrip("\n").split("\n")

    def painted(self) -> str:
        return self._tmux("capture-pane", "-p", "-e")

    def alternate(self) -> bool:
        return self._tmux("display-message", "-p", "#{alternate_on}").strip() == "1"

    def wait(self, wanted: Callable[[list[str]], bool]) -> list[str]:
        """Look until the screen is as wanted."""
        end = time.monotonic() + DEADLINE
        while not wanted(screen := self.screen()):
            assert time.monotonic() < end, "\n".join(screen)
        return screen

    def close(self) -> None:
        self._tmux("kill-server")


@pytest.fixture
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    found = Terminal(tmp_path)
    yield found
    found.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a store of this test's own."""
    return f"sqlite:{tmp_path}/store.db"


def has(text: str) -> Callable[[list[str]], bool]:
    return lambda screen: any(text in line for line in screen)


def accounted_for(screen: list[str]) -> int:
    """Return how many tasks are shown or counted."""
    hidden = [int(found[1]) for line in screen if (found := re.match(r"  … and (\d+) more", line))]
    return sum(hidden) + sum(bool(re.match(r"  t\d+ ", line)) for line in screen)


def by_steps(story: Callable[..., None], url: str, *steps: Any) -> None:
    """Do some of a story's steps in a store opened for them."""

    async def tell(tale: Any) -> None:
        for step in steps:
            await step(tale)

    story(url, by=tell)


async def begin(tale: Any) -> None:
    await tale.begin({"one": {"needs": []}, "two": {"needs": ["one"]}})


async def start(tale: Any) -> None:
    tale.claim = await tale.start("one", 11, 3)


async def end(tale: Any) -> None:
    await tale.end("completed", "one")


async def started_and_ended(tale: Any) -> None:
    view = await tale.session.view()
    await tale.session.cancel_unstarted(view.tasks["two"], "not needed any more")


@pytest.mark.req("C1")
def test_the_screen_follows_the_store_and_is_given_back(
    terminal: Terminal, url: str, story: Callable[..., None]
) -> None:
    by_steps(story, url, begin)
    terminal.run([*PROGRAM, "--store", url, "inspect", "--watch"])
    screen = terminal.wait(has("q quits"))
    assert terminal.alternate()
    assert screen[0] == "shop  ● running"
    assert [line.split() for line in screen if line.startswith("  two")] == [["two", "○", "pending", "after", "one"]]
    by_steps(story, url, start)
    terminal.wait(has("11@workshop"))
    by_steps(story, url, started_and_ended, end)
    screen = terminal.wait(has("ended with 0"))
    assert not terminal.alternate()
    assert "shop  ✓ completed" in screen
    assert "      not needed any more" in screen


def settings(screen: list[str]) -> str:
    """Return the sum that `md5sum` printed; a prompt may stand before it, for a command that was typed ahead."""
    return next(line.split()[-2] for line in screen if line.endswith("  -"))


@pytest.mark.req("C1")
@pytest.mark.parametrize(("key", "code"), [("q", 0), ("C-c", 130)])
def test_keys_end_the_view_and_leave_the_terminal_as_it_was(
    terminal: Terminal, url: str, story: Callable[..., None], key: str, code: int
) -> None:
    by_steps(story, url, begin)
    terminal.type("stty -a | md5sum\n")
    before = terminal.wait(has("  -"))
    terminal.run([*PROGRAM, "--store", url, "inspect", "--watch"])
    terminal.wait(has("q quits"))
    terminal.press(key)
    terminal.wait(has(f"ended with {code}"))
    assert not terminal.alternate()
    terminal.type("clear; stty -a | md5sum\n")
    after = terminal.wait(has("  -"))
    assert settings(after) == settings(before)


@pytest.mark.req("C1")
def test_many_tasks_fit_the_screen_whatever_its_size(terminal: Terminal, url: str, story: Callable[..., None]) -> None:
    async def many(tale: Any) -> None:
        await tale.begin(MANY)
        await tale.start("t30", 30, 1)

    story(url, by=many)
    terminal.run([*PROGRAM, "--store", url, "inspect", "--watch"])
    screen = terminal.wait(has("q quits"))
    assert len(screen) == 24
    assert has("t30")(screen)
    assert accounted_for(screen) == 40
    terminal.resize(60, 14)
    screen = terminal.wait(lambda screen: len(screen) == 14 and has("q quits")(screen) and accounted_for(screen) == 40)
    assert has("t30")(screen)
    assert max(map(width_of, screen)) <= 60
    terminal.press("q")
    terminal.wait(has("ended with 0"))


@pytest.mark.req("C1")
async def test_a_pipe_gets_a_line_for_each_change_and_the_whole_at_the_end(url: str, storyteller: Any) -> None:
    async with open_store(url) as store:
        tale = storyteller(store)
        await begin(tale)
        process = await asyncio.create_subprocess_exec(
            *PROGRAM, "--store", url, "inspect", "--watch", stdout=subprocess.PIPE, env={**os.environ, "TZ": "UTC"}
        )
        assert process.stdout
        assert await process.stdout.readline() == b"shop  running  2: 2 pending\n"
        claim = await tale.start("one", 11, 3)
        line = (await process.stdout.readline()).decode()
        assert line[8:] == "  one  running\n"
        await claim.report(events.Step(step=4), step=4)
        await tale.finish(claim, State.FAILED, "it \x1b[31mbroke")
        line = (await process.stdout.readline()).decode()
        assert line[8:] == "  one  failed: it broke\n"
        await tale.end("failed")
        rest = (await process.communicate())[0].decode().splitlines()
    assert process.returncode == 0
    assert rest[:2] == ["", "shop  ✗ failed"]


@pytest.mark.req("C1")
async def test_programs_get_a_document_a_line(url: str, storyteller: Any) -> None:
    async with open_store(url) as store:
        tale = storyteller(store)
        await begin(tale)
        argv = [*PROGRAM, "--store", url, "inspect", "shop", "--watch", "--json"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        assert process.stdout
        documents = [json.loads(await process.stdout.readline())]
        await tale.end("failed")
        documents += [json.loads(line) for line in (await process.communicate())[0].splitlines()]
    assert {document["store"]["scheme"] for document in documents} == {"sqlite"}
    revisions = [document["store"]["revision"] for document in documents]
    assert revisions == sorted(revisions)
    assert documents[0]["sessions"][0]["state"] == "running"
    assert documents[-1]["sessions"][0]["state"] == "failed"


async def test_a_signal_ends_a_piped_watch_at_once(url: str, storyteller: Any) -> None:
    async with open_store(url) as store:
        await begin(storyteller(store))
        argv = [*PROGRAM, "--store", url, "inspect", "--watch"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout
        await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert (await process.communicate())[1].strip() == b""
    assert process.returncode == 130


async def test_a_deleted_session_ends_its_watch(url: str, storyteller: Any) -> None:
    async with open_store(url) as store:
        tale = storyteller(store)
        await begin(tale)
        argv = [*PROGRAM, "--store", url, "inspect", "--watch"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout
        await process.stdout.readline()
        await store.delete(tale.keys.leader)
        await tale.session.delete()
        out, error = await process.communicate()
    assert process.returncode == 0
    assert error.decode() == "coord: session shop was deleted\n"
    assert out == b""


@pytest.mark.req("C1")
def test_keys_select_a_task_show_its_events_and_cancel_it(
    terminal: Terminal, url: str, story: Callable[..., None]
) -> None:
    by_steps(story, url, begin, start)
    terminal.run(["env", "NO_COLOR=1", *PROGRAM, "--store", url, "inspect", "--watch"])
    terminal.wait(has("q quits"))
    terminal.press("c")
    terminal.wait(has("select a task first"))
    terminal.press("Down")
    terminal.wait(has("▸ one"))
    terminal.press("e")
    screen = terminal.wait(has("looked around"))
    assert has("events of one.1")(screen)
    assert len(screen) == 24
    terminal.resize(60, 16)
    screen = terminal.wait(lambda screen: len(screen) == 16 and has("q quits")(screen) and has("▸ one")(screen))
    assert max(map(width_of, screen)) <= 60
    assert has("looked around")(screen)
    terminal.resize(80, 24)
    terminal.press("Down")
    terminal.wait(has("two has not been started yet"))
    terminal.press("c")
    terminal.wait(has("cancel task two? y or n"))
    terminal.press("n")
    terminal.wait(has("nothing was done"))
    terminal.press("c")
    terminal.wait(has("cancel task two? y or n"))
    terminal.press("y")
    screen = terminal.wait(has("⊘ cancelled"))
    terminal.wait(has("two: cancelled"))
    terminal.press("Escape")
    terminal.wait(lambda screen: not has("has not been started yet")(screen) and has("▸ two")(screen))
    terminal.press("q")
    terminal.wait(has("ended with 0"))


@pytest.mark.req("C1")
def test_without_colour_no_colour_is_sent(terminal: Terminal, url: str, story: Callable[..., None]) -> None:
    by_steps(story, url, begin, start)
    for more, coloured in ((["--no-color"], False), ([], True)):
        terminal.run(["env", "TERM=xterm-256color", *PROGRAM, "--store", url, "inspect", "--watch", *more])
        terminal.wait(has("q quits"))
        painted = terminal.painted()
        assert ("\x1b[34m" in painted) is coloured
        terminal.press("q")
        terminal.wait(has("ended with 0"))
