"""Text made harmless, measured, cut and laid out."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore.cli.text import Cell, Column, Style, clean, clip, pad, table, width_of, wrap
from coordstore.cli.times import age, moment, parse_time, span

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.security(13)
@pytest.mark.parametrize(
    ("hostile", "harmless"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]52;c;cGF5bG9hZA==\x1b\\x", "x"),
        ("\x1b]8;;http://example.net\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdevice\x1b\\x", "x"),
        ("\x1b]0;never ended", "0;never ended"),
        ("\x9b31mred", "red"),
        ("a\x1b[2Jb\x1bcd", "abd"),
        ("over\rwrite\b\b", "over write"),
        ("two\nlines\tof", "two lines of"),
        ("right\u202eleft\u2066x\u200b", "rightleftx"),
        ("nul\0bell\x07del\x7f", "nulbelldel"),
        ("lone \ud800 surrogate", "lone ? surrogate"),
        ("wide 文書 é 👩\u200d🔧", "wide 文書 é 👩\u200d🔧"),
    ],
)
def test_text_of_others_cannot_act_on_a_terminal(hostile: str, harmless: str) -> None:
    assert clean(hostile) == harmless


@pytest.mark.security(13)
@given(st.text())
def test_no_control_character_ever_comes_through(text: str) -> None:
    cleaned = clean(text)
    assert all(char.isprintable() or char in "\u200c\u200d" for char in cleaned)
    assert clean(cleaned) == cleaned


def test_wanted_control_characters_stay() -> None:
    assert clean("a\tb\x1b[1m\n\r", keep="\n\t") == "a\tb\n "


@given(st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z"))), st.integers(0, 40))
def test_cut_text_never_takes_more_room_than_there_is(text: str, width: int) -> None:
    assert width_of(clip(text, width)) <= width
    assert width_of(pad(clip(text, width), width)) == width


@given(st.text(st.sampled_from("ab 文")), st.integers(2, 12), st.integers(1, 4))
def test_wrapped_lines_fit_and_are_not_too_many(text: str, width: int, most: int) -> None:
    lines = wrap(text, width, most)
    assert len(lines) <= most
    assert all(0 < width_of(line) <= width for line in lines)


def test_text_that_fits_is_not_changed_by_wrapping() -> None:
    assert wrap("one two three four", 9, 3) == ["one two", "three", "four"]
    assert wrap("one two three four", 9, 2) == ["one two", "three fo…"]


COLUMNS = [Column("A"), Column("NUMBER", right=True), Column("LONG", least=4), Column("SPARE", spare=1)]
ROWS = [
    [Cell("x"), Cell("1"), Cell("文書を書く"), Cell("left out")],
    [Cell("xyz"), Cell("1000000"), Cell("short"), Cell("first")],
]


def test_a_table_lines_up_by_columns_of_the_terminal() -> None:
    assert table(COLUMNS, ROWS, Style()) == [
        "A     NUMBER  LONG        SPARE",
        "x          1  文書を書く  left out",
        "xyz  1000000  short       first",
    ]


def test_a_narrow_table_cuts_what_may_be_cut_and_leaves_out_what_can_be_spared() -> None:
    assert table(COLUMNS, ROWS, Style(width=19)) == [
        "A     NUMBER  LONG",
        "x          1  文書…",
        "xyz  1000000  short",
    ]


def test_columns_that_say_nothing_are_left_out() -> None:
    assert table(COLUMNS, [[Cell(""), Cell("1"), Cell(""), Cell("")]], Style()) == ["NUMBER", "     1"]


def test_colour_goes_round_the_text_and_not_the_space_between() -> None:
    lines = table([Column("A"), Column("B")], [[Cell("x", "red"), Cell("y")]], Style(colour=True))
    assert lines[1] == "\x1b[31mx\x1b[0m  y"


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("variables", "no_color", "colour"),
    [
        ({"TERM": "xterm"}, False, True),
        ({"TERM": "xterm"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, False, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_colour_is_for_terminals_whose_user_wants_it(
    variables: dict[str, str], no_color: bool, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Style.of(Terminal(), no_color=no_color).colour is colour
    assert not Style.of(io.StringIO()).colour


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59.9, "59s"), (60, "1m00s"), (3599, "59m59s"), (3600, "1h00m"), (86399, "23h59m"), (90000, "1d01h")],
)
def test_a_length_of_time_is_told_in_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_an_age_runs_until_the_end() -> None:
    assert age("2030-01-31T11:00:00Z", None, NOW) == "1h00m"
    assert age("2030-01-31T11:00:00Z", "2030-01-31T11:00:09.5Z", NOW) == "9s"
    assert age(None, None, NOW) == age("yesterday", None, NOW) == ""


def test_times_that_people_write(monkeypatch: pytest.MonkeyPatch) -> None:
    assert moment("15m", NOW) == NOW - timedelta(minutes=15)
    assert moment("2030-01-31T11:00:00Z", NOW) == parse_time("2030-01-31T11:00:00Z")
    clock = moment("23:30", NOW)
    assert clock is not None
    assert timedelta(0) <= NOW - clock < timedelta(days=1)
    assert clock.astimezone().strftime("%H:%M:%S") == "23:30:00"
    assert moment("25:00", NOW) is None
    assert moment("soon", NOW) is None
