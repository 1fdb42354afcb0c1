"""`coord report`: what a session came to, as text and as a document."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from coordstore.cli.files import CannotWrite, write_whole
from coordstore.cli.main import main
from coordstore.cli.report.parts import duration, money
from coordstore.cli.report.plain import lines
from coordstore.cli.report.tally import FIRST, LAST, Tally
from coordstore.cli.text import Style, width_of
from tests.report.conftest import BASE

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore.cli.report.account import Account


@pytest.mark.req("O3")
def test_failures_come_first_with_their_evidence(account: Account) -> None:
    shown = lines(account, Style(width=100))
    assert shown[0] == "needs a look: 3"
    heads = [line.split()[0] for line in shown[1 : shown.index("")] if not line.startswith("   ")]
    assert heads == ["tests", "docs", "release"]
    evidence = "\n".join(shown[: shown.index("")])
    assert "3 of 40 failed" in evidence
    assert "I give up" in evidence
    assert max(map(width_of, [line for line in shown if not line.startswith("  next")])) <= 100
    assert not any("\x1b" in line or "\u202e" in line for line in shown)


@pytest.mark.req("O3")
def test_the_document_has_attempts_verdicts_and_sums(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", url, "report", "forge", "--json"]) == 0
    document: dict[str, Any] = json.loads(capfd.readouterr().out)
    session = document["session"]
    assert session["failed"] == ["tests", "docs", "release"]
    assert session["commit"] == session["base"] == BASE
    by_task = {task["id"]: task for task in session["tasks"]}
    (parser,) = by_task["parser"]["attempts"]
    assert (parser["tool_calls"], parser["seconds"], parser["input_tokens"]) == (4, 270.0, 4010)
    assert parser["cost_usd"] == pytest.approx(1.51)
    assert [verdict["good"] for verdict in parser["verdicts"]] == [True]
    assert by_task["docs"]["work"] == "refused"
    assert by_task["parser"]["work"] == "landed"
    assert [attempt["tool_failures"] for attempt in by_task["tests"]["attempts"]] == [1, 1]
    sums = session["totals"]
    assert (sums["tasks"], sums["landed"], sums["attempts"], sums["tool_calls"]) == (5, 2, 6, 5)
    assert sums["seconds"] == 490.0
    assert sums["agent_seconds"] == 270 + 150 + 90 + 80 + 120


@pytest.mark.req("O3")
def test_a_long_story_is_counted_whole_and_shown_by_its_ends() -> None:
    tally = Tally()
    for number in range(1000):
        tally.take({"type": "message", "text": f"m{number}"})
        tally.take({"type": "usage", "input_tokens": "nonsense", "cost_usd": float("inf")})
    assert len(tally.first) == FIRST
    assert len(tally.last) == LAST
    assert len(tally.first) + len(tally.last) + tally.left_out == 2000
    assert list(tally.last_words) == ["m997", "m998", "m999"]
    assert tally.cost_usd is None
    assert tally.input_tokens == 0


@pytest.mark.parametrize("value", [None, [], {}, True, -1, "x" * 10_000, 1e300, "\ud800"])
def test_events_that_make_no_sense_do_no_harm(value: Any) -> None:
    tally = Tally()
    for kind in (
        "step",
        "usage",
        "check",
        "integrated",
        "files",
        "tool_call",
        "tool_result",
        "error",
        "completion",
        "x",
    ):
        names = ("step", "count", "cost_usd", "input_tokens", "ok", "merged", "claim", "text", "name", "files", "at")
        tally.take({"type": kind, **dict.fromkeys(names, value)})
    assert tally.steps == 0


def test_a_report_of_nothing_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", f"sqlite:{tmp_path}/none.db", "report"]) == 1
    assert "no sessions here yet" in capfd.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_page_that_cannot_be_written_leaves_nothing_behind(
    url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.iterdir())
    assert main(["--store", url, "report", "--html", str(tmp_path / "no" / "page.html")]) == 2
    assert "no/page.html" in capfd.readouterr().err
    (tmp_path / "taken").mkdir()
    with pytest.raises(CannotWrite, match="taken cannot be written"):
        write_whole(tmp_path / "taken", "text")
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "taken"])


@pytest.mark.parametrize(("seconds", "shown"), [(None, "–"), (0.25, "0.2s"), (75, "1m15s")])
def test_lengths_of_time(seconds: float | None, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(("dollars", "shown"), [(None, "–"), (0.0123, "$0.0123"), (1234.5, "$1,234.50")])
def test_amounts_of_money(dollars: float | None, shown: str) -> None:
    assert money(dollars) == shown
