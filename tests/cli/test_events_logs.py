"""`coord events` and `coord logs`: what happened, and what agents printed, once and as it comes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.cli.logfiles import LogReader
from coordstore.cli.telling import TELLERS, parse_event, tell
from coordstore.cli.text import clean
from coordstore.home import default_store_url, home_dir, log_dir
from coordstore.session import State, events

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROGRAM = [sys.executable, "-c", "from coordstore.cli.main import main; main()"]
THERE = "api.1, docs.1, gone.1, late.1, next.1, scope.1, tests.1, tests.2"
HERE = os.uname().nodename


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a store that no other test has."""
    return f"memory:{tmp_path}"


@pytest.fixture
def in_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tell clock times in UTC."""
    monkeypatch.setenv("TZ", "UTC")


# Events --------------------------------------------------------------------------------------------------------------


@pytest.mark.req("C2", "S8")
def test_events_of_all_agents_come_in_the_order_they_were_recorded(
    url: str, story: Callable[..., None], coord: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    story(url)
    done = coord("--store", url, "events")
    lines = done.out.splitlines()
    assert done.err == ""
    assert lines[0][10:] == "api.1       assigned     attempt 1 from 0123456789ab"
    assert lines[3][10:] == "api.1       state        running → completed"
    assert [line.split()[1] for line in lines] == sorted_as_told(lines)
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in done.out


def sorted_as_told(lines: list[str]) -> list[str]:
    """Return the agents in the order of the story."""
    order = ["api.1", "docs.1", "tests.1", "tests.2", "scope.1", "late.1", "gone.1", "next.1"]
    return sorted((line.split()[1] for line in lines), key=order.index)


@pytest.mark.req("C2")
def test_events_are_chosen_by_agent_type_and_place(
    url: str, story: Callable[..., None], coord: Callable[..., Any]
) -> None:
    story(url)

    def found(*args: str) -> list[tuple[str, int, str]]:
        lines = coord("--store", url, "events", "shop", "--json", *args).out.splitlines()
        return [(row["agent"], row["sequence"], row["event"]["type"]) for row in map(json.loads, lines)]

    assert found("--agent", "tests.2") == [
        ("tests.2", 1, "assigned"),
        ("tests.2", 2, "state"),
        ("tests.2", 3, "step"),
        ("tests.2", 4, "state"),
    ]
    assert {agent for agent, _, _ in found("--agent", "tests", "--agent", "api.1")} == {"tests.1", "tests.2", "api.1"}
    assert {kind for _, _, kind in found("--type", "step", "--type", "assigned")} == {"step", "assigned"}
    assert found("--agent", "tests.2", "--since", "3") == [("tests.2", 4, "state")]
    last = json.loads(coord("--store", url, "events", "--json").out.splitlines()[-3])
    assert len(found("--since", str(last["revision"]))) == 2
    assert found("--since", "1h") == found()
    assert found("--since", (datetime.now(UTC) + timedelta(hours=1)).isoformat()) == []


def test_wrong_choices_are_told(url: str, story: Callable[..., None], coord: Callable[..., Any]) -> None:
    story(url)
    assert coord("--store", url, "events", "--agent", "nobody.1") == (
        2,
        "",
        f"coord: session shop has no agent nobody.1: those with events are {THERE} [no-such-agent]\n",
    )
    assert "--since 'soon' is neither a number nor a time" in coord("--store", url, "events", "--since", "soon").err
    unknown = coord("--store", url, "events", "--type", "stat")
    assert (unknown.code, unknown.out) == (0, "")
    assert unknown.err.startswith("coord: no event is of type stat; known are assigned, state, ")


def test_a_task_without_events_is_no_mistake(url: str, story: Callable[..., None], coord: Callable[..., Any]) -> None:
    story(url)
    assert coord("--store", url, "events", "--agent", "glue") == (0, "", "")


def test_without_a_name_the_newest_session_is_taken_and_said(
    url: str, story: Callable[..., None], coord: Callable[..., Any]
) -> None:
    story(url, name="first")
    story(url, name="second")
    done = coord("--store", url, "events", "--json")
    assert done.err == "coord: the newest of 2 sessions is taken: second\n"
    assert {json.loads(line)["session"] for line in done.out.splitlines()} == {"second"}


def test_every_type_of_event_has_its_own_telling() -> None:
    kinds = {kind.model_fields["type"].default for kind in events._Base.__subclasses__()}
    assert kinds <= TELLERS.keys()


@pytest.mark.parametrize("kind", [*TELLERS, "of the future"])
@pytest.mark.parametrize("value", [None, "text", 7, [], ["a"], {"deep": []}, "\x1b]0;owned\x07\n", "\ud800"])
def test_whatever_stands_in_an_event_its_telling_is_one_clean_line(kind: str, value: object) -> None:
    names = ("text", "old", "new", "reason", "paths", "count", "name", "ok", "summary", "step", "command", "output")
    text = tell({"type": kind, **dict.fromkeys((*names, "commit", "merged", "files", "hint", "base", "raw"), value)})
    assert "\n" not in text
    assert clean(text) == text


@pytest.mark.parametrize("data", [b"", b"[1]", b"{}", b"{", b"\xff", b'{"type": 3}', b"[" * 100_000, b"NaN"])
def test_records_that_are_no_events_are_shown_as_they_are(data: bytes) -> None:
    assert parse_event(data) == {"type": "unknown", "raw": data.decode(errors="replace")}


def test_json_lines_are_valid_json_whatever_was_recorded(
    url: str, story: Callable[..., None], coord: Callable[..., Any]
) -> None:
    async def spoil(tale: Any) -> None:
        await tale.begin({"one": {}})
        await tale.store.append("shop/events/one.1", [b'{"type": "usage", "cost_usd": NaN}', b"\xff\x00"])

    story(url, by=spoil)
    lines = coord("--store", url, "events", "--json").out.splitlines()

    def refuse(name: str) -> None:
        raise AssertionError(name)

    assert [json.loads(line, parse_constant=refuse)["event"]["type"] for line in lines] == ["usage", "unknown"]


def test_the_date_stands_where_it_changes(
    url: str, story: Callable[..., None], coord: Callable[..., Any], in_utc: None
) -> None:
    async def old(tale: Any) -> None:
        await tale.begin({"one": {}})
        at = ["2001-02-03T23:59:59Z", "2001-02-04T00:00:01Z", "2001-02-04T00:00:02Z", "when?"]
        notes = [json.dumps({"type": "note", "at": when, "text": "x"}).encode() for when in at]
        await tale.store.append("shop/events/one.1", notes)

    story(url, by=old)
    lines = [line.split("  ")[0] for line in coord("--store", url, "events").out.splitlines()]
    assert lines == ["-- 2001-02-03", "23:59:59", "-- 2001-02-04", "00:00:01", "00:00:02", ""]


@pytest.mark.req("C2")
async def test_following_prints_what_comes_and_ends_with_the_session(tmp_path: Path, storyteller: Any) -> None:
    url = f"sqlite:{tmp_path}/store.db"
    async with open_store(url) as store:
        tale = storyteller(store)
        await tale.begin({"one": {"needs": []}})
        argv = [*PROGRAM, "--store", url, "events", "--follow", "--json"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE)
        assert process.stdout
        claim = await tale.start("one", 1, 1)
        types = [json.loads(await process.stdout.readline())["event"]["type"] for _ in range(3)]
        assert types == ["assigned", "state", "step"]
        await tale.finish(claim, State.COMPLETED)
        await tale.end("completed", "one")
        rest = (await process.communicate())[0].decode().splitlines()
    assert process.returncode == 0
    assert [json.loads(line)["event"]["new"] for line in rest] == ["completed"]


@pytest.mark.req("C2")
def test_following_a_session_that_has_ended_prints_all_of_it(
    tmp_path: Path, story: Callable[..., None], coord: Callable[..., Any]
) -> None:
    async def long(tale: Any) -> None:
        await tale.begin({"one": {}})
        for start in range(0, 3000, 60):
            notes = [b'{"type": "note", "text": "%d"}' % number for number in range(start, start + 60)]
            await tale.store.append("shop/events/one.1", notes)
        await tale.end("completed")

    url = f"sqlite:{tmp_path}/store.db"
    story(url, by=long)
    lines = coord("--store", url, "events", "--follow", "--json").out.splitlines()
    assert [json.loads(line)["sequence"] for line in lines] == list(range(1, 3001))


# Logs ----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def logged(repository: Path, story: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the home of a repository with a session whose agents ran here, and stand in the repository."""

    async def run(tale: Any) -> None:
        await tale.begin({name: {"needs": []} for name in ("one", "two", "three")})
        await tale.finish(await tale.start("one", 1, 1, HERE), State.FAILED, "no")
        await tale.start("one", 2, 1, HERE)
        await tale.start("two", 3, 1, "another-host")

    story(default_store_url(repository), by=run)
    monkeypatch.chdir(repository)
    home = home_dir(repository)
    for agent in ("one.1", "one.2"):
        log_dir(home, "shop", agent).mkdir(parents=True)
        (log_dir(home, "shop", agent) / "stdout.log").write_bytes(f"{agent}\n\x1b[31mred\x1b[0m\xe9".encode("latin-1"))
        (log_dir(home, "shop", agent) / "stderr.log").write_text("")
    return home


@pytest.mark.req("C2")
def test_logs_of_an_attempt_or_of_a_task_s_latest_byte_for_byte_into_a_pipe(
    logged: Path, coord_process: Callable[..., Any]
) -> None:
    done = subprocess.run([*PROGRAM, "logs", "one.1"], capture_output=True, check=True)
    assert done.stdout == b"one.1\n\x1b[31mred\x1b[0m\xe9"
    done = subprocess.run([*PROGRAM, "logs", "one"], capture_output=True, check=True)
    assert done.stdout.startswith(b"one.2\n")


def test_an_empty_log_says_so(logged: Path, coord: Callable[..., Any]) -> None:
    assert coord("logs", "one.2", "--stderr") == (0, "", "coord: one.2 has printed nothing on stderr\n")


@pytest.mark.req("C2")
def test_logs_that_cannot_be_shown_say_why(logged: Path, coord: Callable[..., Any]) -> None:
    place = "/nowhere/logs/two.1"
    assert coord("logs", "two").err == (
        f"coord: two.1 runs on another-host, and its output lies on that host: look there, in {place} [elsewhere]\n"
    )
    assert coord("logs", "three").err == "coord: task three of session shop has not been started yet [no-such-agent]\n"
    assert coord("logs", "four") == (
        2,
        "",
        "coord: session shop has no agent 'four': there are one.1, one.2, two.1 [no-such-agent]\n",
    )
    assert (
        coord("logs", "one", "--session", "other").err
        == "coord: there is no session 'other': there are shop [no-such-session]\n"
    )
    (log_dir(logged, "shop", "one.1") / "stdout.log").unlink()
    (log_dir(logged, "shop", "one.1") / "stderr.log").unlink()
    log_dir(logged, "shop", "one.1").rmdir()
    said = f"coord: the output of one.1 is not in {log_dir(logged, 'shop', 'one.1')} any more [elsewhere]\n"
    assert coord("logs", "one.1") == (1, "", said)


def test_a_log_that_was_cut_in_the_middle_counts_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "stdout.log").write_bytes(b"begin")
    (tmp_path / "stdout.000000000000020.log").write_bytes(b"later")
    (tmp_path / "stdout.000000000000025.log").write_bytes(b"end")
    (tmp_path / "stdout.1.log").write_bytes(b"no part")
    (tmp_path / "stderr.log").write_bytes(b"other")
    reader = LogReader(tmp_path, "stdout")
    assert b"".join(iter(reader.read, b"")) == b"begin\n[15 bytes left out]\nlaterend"
    with (tmp_path / "stdout.000000000000025.log").open("ab") as part:
        part.write(b"!")
    assert reader.read() == b"!"
    assert LogReader(tmp_path / "nowhere", "stdout").read() == b""


@pytest.mark.req("C2")
async def test_following_a_log_ends_with_its_agent(repository: Path, storyteller: Any) -> None:
    folder = log_dir(await asyncio.to_thread(home_dir, repository), "shop", "one.1")
    async with open_store(await asyncio.to_thread(default_store_url, repository)) as store:
        tale = storyteller(store)
        await tale.begin({"one": {"needs": []}})
        claim = await tale.start("one", 1, 1, HERE)
        await asyncio.to_thread(write, folder, b"first\n")
        argv = [*PROGRAM, "logs", "one", "--follow"]
        process = await asyncio.create_subprocess_exec(*argv, stdout=subprocess.PIPE, cwd=repository)
        assert process.stdout
        assert await process.stdout.readline() == b"first\n"
        await asyncio.to_thread(write, folder, b"second\n")
        assert await process.stdout.readline() == b"second\n"
        await asyncio.to_thread(write, folder, b"last")
        await tale.finish(claim, State.COMPLETED)
        assert (await process.communicate())[0] == b"last"
    assert process.returncode == 0


def write(folder: Path, data: bytes) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "stdout.log").open("ab") as log:
        log.write(data)
