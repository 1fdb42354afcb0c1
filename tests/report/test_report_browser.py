"""The report's page in a real browser: looked at, clicked through by keyboard, narrowed to a phone, printed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore.cli.report.looks import DARK, LIGHT
from coordstore.cli.report.page import page
from tests.report.png import Picture

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore.cli.report.account import Account
    from tests.report.browser import Browser

pytestmark = pytest.mark.timeout(300)
BARS = """[...document.querySelectorAll('.track .bar')].map(bar => {
    const box = bar.getBoundingClientRect(), all = document.querySelector('#timeline').getBoundingClientRect()
    return [bar.className, box.x - all.x + 1, box.y - all.y + 2, box.width]
})"""
TAB, ENTER = ("Tab", 9), ("Enter", 13)


@pytest.fixture
def opened(browser: Browser, account: Account, tmp_path: Path) -> Browser:
    """Return a browser that shows the page."""
    target = tmp_path / "page.html"
    target.write_text(page(account), encoding="utf-8")
    browser.size(1000, 800)
    browser.open(target)
    return browser


@pytest.mark.req("O3")
def test_nothing_is_fetched_and_nothing_goes_wrong(opened: Browser) -> None:
    assert [url for url in opened.requests if not url.endswith("/page.html")] == []
    assert opened.errors == []
    assert opened.run("document.title") == "forge: partial"


@pytest.mark.req("O3")
@pytest.mark.parametrize(("scheme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_the_picture_shows_what_the_attempts_came_to(opened: Browser, scheme: str, palette: dict[str, str]) -> None:
    opened.media(prefers_color_scheme=scheme)
    picture = Picture(opened.picture("#timeline"))
    bars = opened.run(BARS)
    assert [name for name, *_ in bars] == ["bar good", "bar good", "bar bad", "bar bad", "bar good"]
    for name, x, y, width in bars:
        assert width > 20
        assert picture.at(x, y) == palette[name.removeprefix("bar ")]
    assert picture.at(0, 0) == palette["back"]


@pytest.mark.req("O3")
def test_bars_lie_where_their_time_is(opened: Browser) -> None:
    parser, printer, first, second, docs = (bar[1:] for bar in opened.run(BARS))
    assert parser[0] == printer[0] < first[0] == docs[0] < second[0]
    assert parser[2] == pytest.approx(printer[2] * 270 / 150, rel=0.05)


@pytest.mark.req("O3")
@pytest.mark.parametrize("width", [320, 390])
def test_on_a_phone_nothing_runs_off_the_side(opened: Browser, width: int) -> None:
    opened.size(width, 700, mobile=True)
    assert opened.run("document.documentElement.scrollWidth") <= width
    assert opened.run("getComputedStyle(document.body).fontSize") == "16px"
    assert opened.run("document.querySelector('.scroll').scrollWidth") > width


@pytest.mark.req("O3")
def test_everything_can_be_reached_and_opened_by_keyboard(opened: Browser) -> None:
    wanted = opened.run("document.querySelectorAll('a[href], summary, [tabindex=\"0\"]').length")
    reached = set()
    for _ in range(wanted):
        opened.press(*TAB)
        reached.add(opened.run("[...document.querySelectorAll('*')].indexOf(document.activeElement)"))
    assert len(reached) == wanted
    opened.run("document.querySelector('summary').focus()")
    opened.press(*ENTER)
    assert opened.run("document.querySelector('details').open") is True


@pytest.mark.req("O3")
def test_a_link_leads_to_its_task(opened: Browser) -> None:
    opened.run("document.querySelector('svg a[href=\"#task-docs\"]').focus()")
    opened.press(*ENTER)
    assert opened.run("location.hash") == "#task-docs"
    top = opened.run("document.querySelector('#task-docs').getBoundingClientRect().top")
    assert -2 <= top < 800


@pytest.mark.req("O3")
def test_it_prints_with_everything_unfolded_on_white(opened: Browser) -> None:
    folded = opened.run("document.body.scrollHeight")
    opened.media("print", prefers_color_scheme="dark")
    assert opened.run("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert opened.run("document.querySelector('nav').offsetHeight") == 0
    assert opened.run("document.body.scrollHeight") > folded
    assert opened.paper().startswith(b"%PDF-")
