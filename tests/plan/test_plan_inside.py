"""What may be delegated lies within one's own scope, whatever files will exist."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore_orchestrator.plan.inside import beyond
from coordstore_orchestrator.plan.scope import Scope

pytestmark = pytest.mark.req("T4", "P2")


@pytest.mark.parametrize(
    ("inner", "outer", "found"),
    [
        (["src/a.py"], ["src"], None),
        (["src/*.py"], ["src/**"], None),
        (["src/**"], ["src/*"], "src/**"),
        (["src"], ["src/a.py"], "src"),
        (["src/a.txt"], ["src/*.txt"], None),
        (["src/a.txt/**"], ["src/*.txt"], "src/a.txt/**"),
        (["src/*"], ["src/*.py"], "src/*"),
        (["docs", "src/a"], ["src"], "docs"),
        (["**"], ["src", "docs"], "**"),
        ([], ["src"], None),
        (["src/a"], [], "src/a"),
        (["a/**/c"], ["a/**"], None),
        (["a/**"], ["a/**/c"], "a/**"),
    ],
)
def test_what_reaches_beyond_is_named(inner: list[str], outer: list[str], found: str | None) -> None:
    assert beyond(Scope.parse(inner), Scope.parse(outer)) == found


STEPS = st.sampled_from(["a", "b", "*", "a*", "**", "*b"])
PATTERNS = st.lists(STEPS, min_size=1, max_size=3).map("/".join)
NAMES = ("a", "b", "ab", "aab", "c")
PATHS = ["/".join(names) for length in range(1, 5) for names in itertools.product(NAMES, repeat=length)]


@given(PATTERNS.map("{}/*".format), st.lists(PATTERNS, min_size=1, max_size=3))
def test_no_path_is_in_what_is_inside_and_not_in_the_other(inner: str, outer: list[str]) -> None:
    mine, whole = Scope.parse([inner]), Scope.parse(outer)
    if beyond(mine, whole) is None:
        assert [path for path in PATHS if mine.matches(path) and not whole.matches(path)] == []
