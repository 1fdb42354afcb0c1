"""`coord inspect`: what people and programs see of a session in which everything has happened."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from coordstore import open_store
from coordstore.cli.overview import overview
from coordstore.cli.text import Style, width_of
from coordstore.session import State
from coordstore.session.view import SessionView

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW = datetime(2030, 1, 31, 12, 10, tzinfo=UTC)
STORE = "memory:inspect"


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a store that no other test has."""
    return f"memory:{tmp_path}"


def view_of(url: str, name: str = "shop") -> SessionView:
    async def read() -> SessionView:
        async with open_store(url) as store:
            cut = await store.list(name)
            return SessionView.of(name, cut.entries, cut.revision)

    return asyncio.run(read())


def shown(url: str, **style: Any) -> list[str]:
    lines = overview(view_of(url), NOW, Style(**style))
    return [line.partition(", on lease ")[0] for line in lines]


@pytest.mark.req("C1")
def test_a_mixed_session_at_80_columns(url: str, story: Callable[..., None]) -> None:
    story(url)
    assert shown(url, width=80) == MIXED.splitlines()


MIXED = """\
shop  ● running
  goal    Open a shop with a red door
  tasks   8: 2 completed, 1 running, 2 pending, 1 lost, 1 failed, 1 cancelled
  led by  process 99 on workshop.example.net, for 10m00s

  TASK   NAME              STATE        TRY  STEP   TIME  WORK     WHERE
  api    Write the API     ✓ completed    1    12  2m05s  merged   4101@workshop
  docs   文書を書く, all…  ● running      1     7  9m00s           4102@workshop
  tests  Tests             ✗ failed       2     9  2m05s           4203@workshop
      check failed: make test: 3 of 40 failed see the output check failed: make
      test: 3 of 40 failed see the output check failed: make test: 3 of 40
      failed see the output check failed: make test: 3 of 40 failed see the out…
  glue   Glue it           ○ pending                               after docs
  scope  Breaks its scope  ✓ completed    1     2  2m05s  refused  4105@workshop
      changed files outside of its scope: secrets.txt
  late                     ⊘ cancelled    1
      needs scope, which was not merged
  gone   Lost its worker   ! lost         1     1  9m00s           4107@far-awa…
  next   Waits for a wor…  ○ pending      1                        queued

  stuck  gone: gone.1 has lost its worker; it will be tried again by whoever
         orchestrates
  next   coord logs tests.2 --session shop
  next   coord inspect shop --watch"""


@pytest.mark.req("C1")
def test_with_more_room_branches_and_whole_names_are_shown(url: str, story: Callable[..., None]) -> None:
    story(url)
    docs = next(line for line in shown(url) if line.startswith("  docs "))
    assert "文書を書く, all of it, with every example that anybody could ask for" in docs
    assert docs.endswith("  4102@workshop                        docs.1")


@pytest.mark.parametrize("width", [40, 60, 80, 100, 132])
@pytest.mark.parametrize("rows", [0, 8, 12, 23])
def test_no_line_is_wider_than_the_terminal_and_no_picture_higher(
    url: str, story: Callable[..., None], width: int, rows: int
) -> None:
    story(url)
    lines = overview(view_of(url), NOW, Style(width=width), rows=rows)
    to_type = [line for line in lines if line.startswith("  next")]
    assert max(width_of(line) for line in lines if line not in to_type) <= width
    assert not rows or len(lines) <= max(rows, 14)


def test_where_not_all_tasks_fit_those_that_need_a_look_are_shown(url: str, story: Callable[..., None]) -> None:
    story(url)
    lines = overview(view_of(url), NOW, Style(width=80), rows=17)
    names = [line.split()[0] for line in lines if line.startswith("  ") and not line.startswith("   ")]
    assert {"docs", "tests", "gone", "scope"} <= set(names)
    assert "api" not in names
    assert "  … and 4 more: 1 completed, 2 pending, 1 cancelled" in lines


def test_a_terminal_without_unicode_gets_ascii(url: str, story: Callable[..., None]) -> None:
    story(url)
    lines = shown(url, unicode=False, width=80)
    assert all(line.isascii() for line in lines if "docs" not in line)
    assert any("* running" in line for line in lines)


def test_colour_changes_nothing_but_colour(url: str, story: Callable[..., None]) -> None:
    story(url)
    coloured = "\n".join(shown(url, colour=True, width=80))
    for code in ("1", "2", "31", "32", "33", "34"):
        coloured = coloured.replace(f"\x1b[{code}m", "")
    assert coloured.replace("\x1b[0m", "").splitlines() == shown(url, width=80)


async def finished(tale: Any) -> None:
    await tale.begin({"one": {"needs": []}, "two": {"needs": []}})
    await tale.finish(await tale.start("one", 1, 1), State.COMPLETED)
    await tale.merged("one", merged=True)
    await tale.finish(await tale.start("two", 2, 2), State.FAILED, "exit status 3")
    await tale.end("partial", "one")


async def abandoned(tale: Any) -> None:
    await tale.begin({"one": {"needs": []}, "two": {"needs": ["one"]}})
    await tale.start("one", 1, 1)
    await tale.store.delete(tale.keys.leader)


@pytest.mark.req("C1")
def test_a_finished_session_ends_in_the_commands_to_type(url: str, story: Callable[..., None]) -> None:
    story(url, by=finished)
    lines = shown(url, width=80)
    assert lines[0] == "shop  ◐ partial"
    assert lines[3] == "  result  refs/heads/coord/shop"
    assert "landed" in next(line for line in lines if line.startswith("  one"))
    assert lines[-2:] == ["  next   coord logs two.1 --session shop", "  next   git merge coord/shop"]


@pytest.mark.req("C1")
def test_a_session_that_nobody_leads_says_so_and_how_to_go_on(url: str, story: Callable[..., None]) -> None:
    story(url, by=abandoned)
    lines = shown(url, width=100)
    assert lines[0] == "shop  ■ stopped"
    assert any(line.startswith("  stuck  nobody orchestrates this session any more") for line in lines)
    assert lines[-1] == "  next   coord run PLAN --session shop"


def test_sessions_that_ended_take_one_line_but_for_the_newest(
    url: str, story: Callable[..., None], coord: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    story(url, name="old", by=finished)
    story(url, name="other", by=abandoned)
    story(url, name="new", by=finished)
    lines = coord("--store", url, "inspect").out.splitlines()
    heads = [line for line in lines if line and not line.startswith(" ")]
    assert heads == [
        "old  ◐ partial  2: 1 completed, 1 failed, 1 landed  Open a shop with a red door",
        "other  ■ stopped",
        "new  ◐ partial",
    ]
    assert "  next   coord run PLAN --session other" in lines
    assert lines[-2:] == ["  next   coord logs two.1", "  next   git merge coord/new"]
    assert coord("--store", url, "inspect", "old").out.splitlines()[-1] == "  next   git merge coord/old"


def test_other_things_in_the_same_store_are_no_sessions(url: str, coord: Callable[..., Any]) -> None:
    async def fill() -> None:
        async with open_store(url) as store:
            for key in ("agents/t1.1/status", "a..b/meta", "@pool/x/slots/1", "deep/er/meta", "meta"):
                await store.put(key, b"{}")

    asyncio.run(fill())
    assert coord("--store", url, "inspect").out == "no sessions here yet: `coord run PLAN` starts one\n"


def test_records_that_make_no_sense_are_shown_without_an_error(
    url: str, story: Callable[..., None], coord: Callable[..., Any]
) -> None:
    async def spoil(tale: Any) -> None:
        await tale.tell()
        for key in ("meta", "leader", "result", "tasks/api", "merged/docs", "agents/docs.1/claim"):
            await tale.store.put(f"shop/{key}", b"[" * 10_000)
        for name in ("status", "step", "pid", "started", "host", "branch"):
            await tale.store.put(f"shop/agents/docs.1/{name}", b"\xff\x00\x1b[2J9" * 3)
        await tale.store.put("shop/agents/no-agent/status", b"running")
        await tale.store.put("shop/agents/tests.2/started", b"2030-01-31T12:00:00")

    story(url, by=spoil)
    human, document = coord("--store", url, "inspect"), coord("--store", url, "inspect", "--json")
    assert (human.code, document.code) == (0, 0)
    assert "\x1b" not in human.out
    assert json.loads(document.out)["sessions"][0]["id"] == "shop"


@pytest.mark.req("C1")
def test_json_has_what_the_interface_says(url: str, story: Callable[..., None], coord: Callable[..., Any]) -> None:
    story(url)
    found = json.loads(coord("--store", url, "inspect", "--json").out)
    assert found["schema"] == 1
    assert found["store"].keys() == {"id", "url", "scheme", "revision", "durability"}
    (session,) = found["sessions"]
    assert session["id"] == "shop"
    assert session["state"] == "running"
    assert session["result_ref"] is None
    tests = next(task for task in session["tasks"] if task["id"] == "tests")
    assert {name: tests[name] for name in ("name", "state", "landed")} == {
        "name": "Tests",
        "state": "failed",
        "landed": False,
    }
    assert [attempt["agent"] for attempt in tests["attempts"]] == ["tests.1", "tests.2"]
    assert (
        tests["attempts"][0].items()
        >= {
            "state": "failed",
            "step": 3,
            "pid": 4103,
            "host": "workshop.example.net",
            "branch": "refs/heads/tests.1",
            "worktree": "/nowhere/worktrees/tests.1",
            "started": "2030-01-31T12:01:00Z",
            "ended": "2030-01-31T12:03:05Z",
        }.items()
    )


@pytest.mark.req("C1")
def test_where_there_is_no_store_nothing_is_made(
    repository: Path, coord: Callable[..., Any], clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    assert coord("inspect") == (0, "no sessions here yet: `coord run PLAN` starts one\n", "")
    assert json.loads(coord("inspect", "--json").out) == {"schema": 1, "store": None, "sessions": []}
    assert coord("inspect", "--watch").code == 0
    assert coord("--store", f"sqlite:{repository}/no/store.db", "inspect").code == 0
    assert coord("inspect", "shop").code == 2
    assert [*clean_environment.iterdir()] == []
    assert sorted(path.name for path in repository.iterdir()) == [".git"]


def test_a_session_that_is_not_there_names_those_that_are(
    url: str, story: Callable[..., None], coord: Callable[..., Any]
) -> None:
    story(url, by=finished)
    assert coord("--store", url, "inspect", "shpo") == (
        2,
        "",
        "coord: there is no session 'shpo': there are shop [no-such-session]\n",
    )
