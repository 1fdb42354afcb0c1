"""The report's page as it is written: whole, closed in itself, and with every text escaped."""

from __future__ import annotations

import html
import re
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from coordstore.cli.main import main
from coordstore.cli.report.graph import levels
from coordstore.cli.report.looks import DARK, LIGHT
from coordstore.cli.report.markup import Markup, join, tag, text
from coordstore.cli.report.page import POLICY, page
from tests.report.conftest import HOSTILE

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore.cli.report.account import Account

EMPTY = {"meta", "br"}


class Page(HTMLParser):
    """The elements of a page, with what is wrong about their nesting."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def having(self, name: str) -> list[str]:
        return [str(found[name]) for _, found in self.elements if name in found]


@pytest.fixture
def source(account: Account) -> str:
    return page(account)


@pytest.mark.req("O3")
def test_no_text_of_an_agent_becomes_markup(source: str) -> None:
    names = {name for name, _ in Page(source).elements}
    assert names.isdisjoint({"script", "img", "iframe", "object", "link", "form", "base", "embed"})
    assert "\u202e" not in source
    assert "\x1b" not in source
    assert html.escape("</pre><script>document.title=") in source
    assert HOSTILE not in source
    assert not [name for _, found in Page(source).elements for name in found if name.startswith("on")]


@pytest.mark.req("O3")
def test_the_page_fetches_nothing_and_runs_nothing(source: str) -> None:
    found = Page(source)
    assert found.having("src") == []
    assert [link for link in found.having("href") if not link.startswith("#")] == []
    assert ("meta", {"http-equiv": "Content-Security-Policy", "content": POLICY}) in found.elements
    assert "default-src 'none'" in POLICY
    assert "url(" not in source.replace("url(#tip)", "")
    assert "@import" not in source


@pytest.mark.req("O3")
def test_the_page_is_well_formed_and_every_link_leads_somewhere(source: str) -> None:
    found = Page(source)
    assert found.wrong == []
    assert found.open == []
    ids = found.having("id")
    assert len(ids) == len(set(ids))
    assert {link.removeprefix("#") for link in found.having("href")} <= set(ids)
    assert {"task-tests", "attempt-tests.2", "look", "merge", "timeline", "graph", "cost"} <= set(ids)


@pytest.mark.req("O3")
def test_landmarks_headings_and_names_serve_those_who_listen(source: str) -> None:
    found = Page(source)
    names = [name for name, _ in found.elements]
    assert [names.count(each) for each in ("main", "header", "nav", "footer", "h1", "title")] == [1] * 6
    assert found.elements[0] == ("html", {"lang": "en"})
    heads = [int(name[1]) for name in names if re.fullmatch(r"h[1-6]", name)]
    assert heads[0] == 1
    assert all(after - before <= 1 for before, after in pairwise(heads))
    assert all(inner.get("scope") for name, inner in found.elements if name == "th")
    assert next(inner for name, inner in found.elements if name == "svg")["aria-label"]


@pytest.mark.req("O3")
def test_failures_stand_before_everything_else(source: str) -> None:
    order = [source.index(f'id="{name}"') for name in ("look", "merge", "timeline", "graph", "cost", "tasks")]
    assert order == sorted(order)
    look = source[source.index('id="look"') : source.index('id="merge"')]
    assert "3 of 40 failed" in look
    assert "README" in look
    assert look.index("#task-tests") < look.index("#task-docs") < look.index("#task-release")


def luminance(colour: str) -> float:
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.req("O3")
@pytest.mark.parametrize("palette", [LIGHT, DARK], ids=["light", "dark"])
def test_every_text_has_contrast_enough(palette: dict[str, str]) -> None:
    for name in ("text", "soft", "link", "good", "bad", "warn", "run"):
        for back in ("back", "raised"):
            assert contrast(palette[name], palette[back]) >= 4.5, f"{name} on {back}"
    assert contrast(palette["line"], palette["back"]) >= 3


def test_the_palettes_know_the_same_names() -> None:
    assert LIGHT.keys() == DARK.keys()


def test_a_text_is_escaped_wherever_it_stands() -> None:
    made = tag("p", "<b>", tag("i", "&"), title='"><x', on_="ok", class_=None)
    assert made == '<p title="&quot;&gt;&lt;x" on="ok">&lt;b&gt;<i>&amp;</i></p>'
    assert join("<", Markup("<br>")) == "&lt;<br>"
    assert text("a\x00b\u2066c\nd") == "abc\nd"
    assert tag("p", **{"x onload": "1"}) == "<p></p>"


def test_columns_follow_the_dependencies_whatever_they_are() -> None:
    assert levels({"a": [], "b": ["a"], "c": ["a", "b"], "d": ["nowhere"]}) == [["a", "d"], ["b"], ["c"]]
    assert levels({"a": ["b"], "b": ["a"], "c": []}) == [["c"], ["a", "b"]]
    assert levels({}) == []


@pytest.mark.req("O3", "C2")
def test_the_command_writes_the_page_whole_and_privately(
    url: str, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    target = tmp_path / "out" / "report.html"
    target.parent.mkdir()
    assert main(["--store", url, "report", "forge", "--html", str(target)]) == 0
    assert target.stat().st_mode & 0o777 == 0o600
    assert list(target.parent.iterdir()) == [target]
    capfdbinary.readouterr()
    assert main(["--store", url, "report", "forge", "--html", "-"]) == 0
    assert capfdbinary.readouterr().out.startswith(b"<!doctype html>")
    assert Page(target.read_text(encoding="utf-8")).wrong == []
