"""The grammar of names: what a prefix covers, and that its bounds cover exactly that."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore import names
from coordstore.errors import InvalidKey
from coordstore.testing.suite.keys import BAD_KEYS, GOOD_KEYS

pytestmark = pytest.mark.req("S4")

SEGMENT = st.from_regex(r"[a-c0-1][ab0._-]{0,2}", fullmatch=True)
KEY = st.lists(SEGMENT, min_size=1, max_size=3).map("/".join)
PREFIX = st.just("") | KEY | KEY.map(lambda key: key + "/")


def test_the_corpora_are_as_large_as_they_claim() -> None:
    assert sum(map(len, BAD_KEYS.values())) >= 60
    assert all(names.check_key(key) == key for family in GOOD_KEYS.values() for key in family)


@given(PREFIX, KEY)
def test_the_bounds_of_a_prefix_cover_what_is_under_it(prefix: str, key: str) -> None:
    exact, low, high = names.prefix_bounds(names.check_prefix(prefix))
    segments, wanted = key.split("/"), [part for part in prefix.split("/") if part]
    covered = segments[: len(wanted)] == wanted and not (prefix.endswith("/") and segments == wanted)
    assert names.under(prefix, key) == covered == (key == exact or low <= key < high)


@given(st.text(max_size=20))
def test_any_text_is_a_key_or_refused_with_a_short_printable_reason(text: str) -> None:
    reason = _refusal(text)
    if reason is None:
        assert text.isascii()
        assert all(names.is_segment(segment.removeprefix("@")) for segment in text.split("/"))
    else:
        assert reason.isprintable()
        assert len(reason) < 300


def _refusal(text: str) -> str | None:
    try:
        names.check_key(text)
    except InvalidKey as error:
        return str(error)
    return None


def test_a_segment_is_no_path() -> None:
    assert names.is_segment("t1.1")
    assert not any(map(names.is_segment, ["", "a/b", ".", "..", "@a", "A", "a\n", "a" * 65]))
