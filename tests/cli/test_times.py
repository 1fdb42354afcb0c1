"""Stored times as the clock here shows them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from coordstore.cli import times
from coordstore.cli.times import local_day, local_time

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    def chosen(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()
        times._minute.cache_clear()

    yield chosen
    monkeypatch.undo()
    time.tzset()
    times._minute.cache_clear()


@pytest.mark.parametrize(
    ("stored", "day", "clock"),
    [
        ("2026-03-29T00:59:59.000001Z", "2026-03-29", "01:59:59"),
        ("2026-03-29T01:00:00Z", "2026-03-29", "03:00:00"),  # the clocks go forward
        ("2026-03-29T23:30:07.5+00:00", "2026-03-30", "01:30:07"),
        ("2026-03-29T23:30:07.25-03:30", "2026-03-30", "05:00:07"),
        ("2026-03-29T23:30:07", "2026-03-30", "01:30:07"),
        ("2026-03-29T23:30:61Z", "", " " * 8),
        ("2026-13-29T23:30:01Z", "", " " * 8),
        ("yesterday", "", " " * 8),
        ("", "", " " * 8),
        (None, "", " " * 8),
    ],
)
def test_stored_times_are_shown_as_the_clock_here(
    stored: str | None, day: str, clock: str, zone: Callable[[str], None]
) -> None:
    zone("CET-1CEST,M3.5.0,M10.5.0/3")
    for _ in range(2):
        assert (local_day(stored), local_time(stored)) == (day, clock)


def test_a_zone_of_a_quarter_of_an_hour_is_right_too(zone: Callable[[str], None]) -> None:
    zone("NPT-5:45")
    assert [local_time(f"2026-01-01T18:{minute:02}:09.1Z") for minute in (14, 15)] == ["23:59:09", "00:00:09"]
    assert local_day("2026-01-01T18:15:00Z") == "2026-01-02"
