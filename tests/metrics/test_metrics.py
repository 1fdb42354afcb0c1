"""`coord metrics`: numbers that Prometheus can read, and that are right."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.cli.main import main
from coordstore.cli.metrics.collect import NAMES
from coordstore.cli.metrics.exposition import BUCKETS, Family, render
from coordstore.cli.report.tally import Tally
from coordstore.recipes import Scratchpad
from coordstore.session import State, events
from coordstore.session.session import Session, as_value

if TYPE_CHECKING:
    from pathlib import Path

LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
SAMPLE = re.compile(rf"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{{({LABEL}(?:,{LABEL})*)\}})? (-?[0-9.eE+-]+|NaN|[+-]Inf)")
SUFFIXES = ("_bucket", "_sum", "_count")


def parse(text: str) -> dict[str, float]:
    """Read the format as its specification has it; refuse what it does not allow."""
    found: dict[str, float] = {}
    kinds: dict[str, str] = {}
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            continue
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in kinds
            assert kind in ("counter", "gauge", "histogram")
            kinds[name] = kind
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        name, labels, value = match.groups()
        family = name
        for suffix in SUFFIXES:
            if kinds.get(name.removesuffix(suffix)) == "histogram":
                family = name.removesuffix(suffix)
        assert list(kinds)[-1] == family, f"{name} stands outside of its family"
        key = f"{name}{{{labels}}}" if labels else name
        assert key not in found
        found[key] = float(value)
    return found


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Return the URL of a store with one session."""
    found = f"sqlite:{tmp_path}/store.db"

    async def fill() -> None:
        async with open_store(found) as store:
            session = Session(store, "mill")
            specs = {"one": {"agent": "claude:opus"}, "two": {}, "three": {"agent": "claude:opus"}, "four": {}}
            created = "2030-01-31T12:00:00Z"
            await session.create({"goal": "g", "digest": "d", "agent": "codex", "created": created}, specs)
            lease = await store.grant(600)
            for task, new, seconds in (("one", State.COMPLETED, 30), ("three", State.FAILED, 50)):
                agent = f"{task}.1"
                await session.assign((await session.view()).tasks[task], "b" * 40)
                claim = await session.claim(agent, (), {}, lease)
                told: list[events.Event] = [
                    events.ToolCall(name="edit", digest="d"),
                    events.Error(text="API Error: 429 too many requests"),
                    events.Error(text="I could not find the file"),
                    events.Usage(input_tokens=100, output_tokens=10, cost_usd=0.5),
                ]
                await claim.report(*told)
                await claim.finish(new, {"code": "check"} if new is State.FAILED else {})
                await store.put(session.keys.agent(agent, "started"), b"2030-01-31T12:00:00Z")
                await store.put(session.keys.agent(agent, "ended"), f"2030-01-31T12:00:{seconds}Z".encode())
            await session.assign((await session.view()).tasks["two"], "b" * 40)
            await store.put(session.keys.result, as_value({"landed": ["one"], "ended": "2030-01-31T12:00:40Z"}))
            pad = Scratchpad(store, "mill", most=100, least=50)
            for number in range(5):
                await pad.append(f"{number}" * 24)
            await store.put("mill/mail/owner/1", b"{}")

    asyncio.run(fill())
    return found


def scraped(url: str, capfd: pytest.CaptureFixture[str], *args: str) -> dict[str, float]:
    capfd.readouterr()
    assert main(["--store", url, "metrics", *args]) == 0
    return parse(capfd.readouterr().out)


@pytest.mark.req("O2")
def test_the_numbers_are_what_the_store_holds(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = scraped(url, capfd)
    mill = '{session="mill"}'
    assert found['coord_tasks{session="mill",state="pending"}'] == 2
    assert found['coord_tasks{session="mill",state="failed"}'] == 1
    assert found[f"coord_tasks_landed{mill}"] == 1
    assert found['coord_queue_depth{session="mill",class="any"}'] == 1
    assert found[f"coord_attempts_started_total{mill}"] == 2
    assert found['coord_attempts_ended_total{session="mill",state="failed",code="check"}'] == 1
    assert found[f"coord_attempts_success_ratio{mill}"] == 0.5
    assert found[f"coord_session_elapsed_seconds{mill}"] == 50
    assert found[f"coord_session_agent_seconds{mill}"] == 80
    assert found[f"coord_session_parallelism_ratio{mill}"] == 1.6
    assert found[f"coord_mail_waiting{mill}"] == 1
    assert found["coord_leases"] == 1
    assert found['coord_store_info{scheme="sqlite",durability="full"}'] == 1


@pytest.mark.req("O2")
def test_errors_of_an_api_are_told_from_others_by_model(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = scraped(url, capfd)
    assert found['coord_agent_errors_total{session="mill",model="claude:opus"}'] == 4
    assert found['coord_api_errors_total{session="mill",model="claude:opus",kind="rate-limit"}'] == 2
    assert found['coord_agent_errors_total{session="mill",model="codex"}'] == 0
    assert found['coord_tokens_total{session="mill",model="claude:opus",direction="in"}'] == 200
    assert found['coord_cost_usd_total{session="mill",model="claude:opus"}'] == 1


@pytest.mark.req("O2", "R8")
def test_the_scratchpad_and_its_cleanups_are_counted(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = scraped(url, capfd)
    notes = found['coord_scratchpad_notes{session="mill"}']
    assert found['coord_scratchpad_bytes{session="mill"}'] == 24 * notes
    assert found['coord_scratchpad_cleanups_total{session="mill"}'] == 1


@pytest.mark.req("O2")
def test_a_histogram_counts_up_to_all_of_them(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = scraped(url, capfd)
    rows = [value for key, value in found.items() if "bucket" in key and 'state="completed"' in key]
    assert rows == sorted(rows)
    assert len(rows) == len(BUCKETS) + 1
    assert rows[-1] == found['coord_attempt_duration_seconds_count{session="mill",state="completed"}'] == 1
    assert found['coord_attempt_duration_seconds_bucket{session="mill",state="completed",le="15"}'] == 0
    assert found['coord_attempt_duration_seconds_sum{session="mill",state="completed"}'] == 30


@pytest.mark.req("O2")
def test_a_file_is_replaced_at_once_and_readable_for_others(url: str, tmp_path: Path) -> None:
    target = tmp_path / "textfile" / "coord.prom"
    target.parent.mkdir()
    target.write_text("old")
    before = target.open(encoding="utf-8")
    assert main(["--store", url, "metrics", "--file", str(target)]) == 0
    assert before.read() == "old", "the old file was written over"
    before.close()
    assert parse(target.read_text(encoding="utf-8"))["coord_leases"] == 1
    assert target.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in target.parent.iterdir()] == ["coord.prom"]
    assert main(["--store", url, "metrics", "--file", str(tmp_path / "no" / "coord.prom")]) == 2


def test_sessions_can_be_chosen_and_events_left_out(url: str, capfd: pytest.CaptureFixture[str]) -> None:
    found = scraped(url, capfd, "mill", "--no-events")
    assert found['coord_tool_calls_total{session="mill",model="claude:opus"}'] == 0
    assert found['coord_attempts_started_total{session="mill"}'] == 2
    assert main(["--store", url, "metrics", "nothing"]) == 2
    assert "no session 'nothing'" in capfd.readouterr().err


def test_where_there_is_no_store_there_are_no_numbers(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--store", f"sqlite:{tmp_path}/none.db", "metrics"]) == 0
    assert capfd.readouterr().out.strip() == ""
    assert list(tmp_path.iterdir()) == []


def test_labels_are_escaped() -> None:
    family = Family("x", "gauge", "help")
    family.add(1, a='say "hi"\\\n')
    assert render([family]) == '# HELP x help\n# TYPE x gauge\nx{a="say \\"hi\\"\\\\\\n"} 1\n'
    assert parse(render([family])) == {'x{a="say \\"hi\\"\\\\\\n"}': 1}


def test_names_are_as_prometheus_wants_them() -> None:
    for name, (kind, said) in NAMES.items():
        assert re.fullmatch(r"coord_[a-z_]+", name)
        assert name.endswith("_total") == (kind == "counter")
        assert re.fullmatch(r"[A-Z][^\n\\]*\.", said)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("API Error: 401 bad key", "auth"),
        ("HTTP 503 Service Unavailable", "server"),
        ("connect ECONNREFUSED 127.0.0.1:1", "network"),
        ("status code 404", "model"),
        ("rate limit reached", "rate-limit"),
        ("test failed at line 404", None),
        ("500 tests failed", None),
    ],
)
def test_what_counts_as_an_error_of_an_api(text: str, kind: str | None) -> None:
    tally = Tally()
    tally.take({"type": "error", "text": text, "at": datetime.now(UTC).isoformat()})
    assert tally.api_errors == Counter([kind] if kind else [])
