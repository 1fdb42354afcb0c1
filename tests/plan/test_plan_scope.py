"""The algebra of scopes: against an oracle that knows patterns only as they are written, over all small paths."""

from __future__ import annotations

import itertools
import pickle
import re
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coordstore_orchestrator.plan import PlanError, Scope, clash, overlap
from coordstore_orchestrator.plan.index import PatternIndex
from coordstore_orchestrator.plan.pattern import Pattern, meet

NAMES = ("a", "b", "ab", "aa", "a.b", "xa", "axb", ".a")
PATHS = [
    "/".join(names) for depth in (1, 2, 3, 4) for names in itertools.product(NAMES[: 10 - 2 * depth], repeat=depth)
]
PARTS = ("a", "b", "ab", "a.b", "*", "a*", "*b", "*.b", "a*b", "*x*", "*a", "*a*a*", "**")

patterns = st.builds(
    lambda parts, tail: "/".join(parts) + tail,
    st.lists(st.sampled_from(PARTS), min_size=1, max_size=4),
    st.sampled_from(("", "", "/")),
)


def oracle(pattern: str, path: str) -> bool:
    """Say by one regular expression over the whole path what a pattern, as it is written, stands for."""
    folder = pattern.endswith("/") or f"/{pattern}".endswith("/**")
    parts = pattern.removesuffix("/").split("/")
    while parts and parts[-1] == "**":
        parts.pop()
    form = "".join(
        "(?:[^/]+/)*" if part == "**" else re.escape(part).replace(r"\*", "[^/]*") + "/" for part in parts
    ).removesuffix("/")
    if folder:
        return re.fullmatch(f"{form}/.+" if form else ".+", path) is not None
    last = parts[-1]
    file = "*" in last or ("*" in pattern and "." in last[1:])
    return re.fullmatch(form if file else f"{form}(?:/.+)?", path) is not None


@pytest.mark.req("P2")
@given(patterns)
def test_a_pattern_stands_for_what_it_says(pattern: str) -> None:
    read, scope = Pattern.parse(pattern), Scope.parse([pattern])
    for path in PATHS:
        assert read.matches(path) == oracle(pattern, path) == scope.matches(path), path


@pytest.mark.req("P2")
@given(patterns, patterns)
def test_two_patterns_meet_exactly_if_a_path_is_in_both(one: str, two: str) -> None:
    witness = meet(Pattern.parse(one), Pattern.parse(two))
    assert witness == overlap(Scope.parse([one]), Scope.parse([two]))
    if witness is None:
        assert not [path for path in PATHS if oracle(one, path) and oracle(two, path)]
    else:
        assert oracle(one, witness)
        assert oracle(two, witness)


@pytest.mark.parametrize(
    ("one", "two"), [("*a", "*b"), ("a*", "b*"), ("*.py", "*.md"), ("ab*", "ac*"), ("*/x*", "*/y*")]
)
def test_ends_of_one_length_are_compared_too(one: str, two: str) -> None:
    assert meet(Pattern.parse(one), Pattern.parse(two)) is None


@given(st.lists(patterns, max_size=12), patterns)
def test_the_index_finds_what_comparing_with_each_finds(many: list[str], one: str) -> None:
    read, wanted = [Pattern.parse(text) for text in many], Pattern.parse(one)
    index = PatternIndex((pattern.steps, at) for at, pattern in enumerate(read))
    assert sorted(index.meeting(wanted.steps)) == [
        at for at, pattern in enumerate(read) if meet(pattern, wanted) is not None
    ]


@given(st.lists(patterns, max_size=6), st.lists(patterns, max_size=6))
def test_a_clash_names_patterns_of_both_sides_and_a_path_in_both(one: list[str], two: list[str]) -> None:
    found = clash(Scope.parse(one), Scope.parse(two))
    alone = [(a, b) for a in one for b in two if meet(Pattern.parse(a), Pattern.parse(b)) is not None]
    assert (found is None) == (not alone)
    if found is not None:
        assert (found.one, found.two) == alone[0]
        assert oracle(found.one, found.path)
        assert oracle(found.two, found.path)


@pytest.mark.req("P2")
@pytest.mark.parametrize(
    ("pattern", "inside", "outside"),
    [
        ("src", ["src", "src/a.py", "src/a/b.py"], ["src2/a", "lib/src", "srcs"]),
        ("src/", ["src/a.py", "src/a/b.py"], ["src", "lib/src/a"]),
        ("src/**", ["src/a.py", "src/a/b.py", "src/.env"], ["src"]),
        ("src/*", ["src/a.py", "src/.env"], ["src", "src/a/b.py"]),
        ("src/*/", ["src/a/b.py", "src/a/b/c"], ["src/a.py"]),
        ("src/**/*.py", ["src/a.py", "src/a/b/c.py"], ["src/a.pyc", "a.py", "src/a.py/b"]),
        ("**/tests", ["tests/a", "x/y/tests/b/c"], ["tests2/a"]),
        ("**/conftest.py", ["conftest.py", "a/conftest.py"], ["conftest.py/x", "aconftest.py"]),
        ("packages/*/src", ["packages/a/src/b.py", "packages/a/src"], ["packages/a/b/src/c", "packages/src"]),
        ("packages/*/v1.2/", ["packages/a/v1.2/b"], ["packages/a/v1.2"]),
        ("a.d", ["a.d", "a.d/b"], ["axd"]),
        ("app/[slug]/page.tsx", ["app/[slug]/page.tsx"], ["app/s/page.tsx"]),
        ("{{cookiecutter.name}}/setup.py", ["{{cookiecutter.name}}/setup.py"], []),
        ("docs/été.md", ["docs/été.md"], ["docs/ete.md"]),
        ("**", ["a", "a/b/c", ".github/x"], []),
        ("*a*a*", ["aa", "xabay"], ["a", "xa"]),
        ("a*b*c", ["abc", "aXbYc", "abbc/deep"][:2], ["acb", "abcd"]),
    ],
)
def test_examples(pattern: str, inside: list[str], outside: list[str]) -> None:
    scope = Scope.parse([pattern])
    assert scope.outside(inside) == []
    assert scope.outside(outside) == sorted(outside)


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "../a", "a/../b", "./a", "a/..", ".", "/"])
def test_what_is_no_path_from_the_root_is_in_no_scope(path: str) -> None:
    assert not Scope.parse(["**", "a"]).matches(path)
    assert not Pattern.parse("**").matches(path)


@pytest.mark.req("P2")
@pytest.mark.parametrize(
    ("one", "two", "witness"),
    [
        (["src"], ["src/api/x.py"], "src/api/x.py"),
        (["src/*.py"], ["src/api/*.py"], None),
        (["**/*.py"], ["**/*.md"], None),
        (["**/a.py"], ["**/b.py"], None),
        (["src/**/*.py"], ["src/gen/**"], "src/gen/x.py"),
        (["a*"], ["*b"], "axb"),
        ([".*"], ["*."], ".x."),
        (["ab*"], ["ac*"], None),
        (["src/a.py", "docs"], ["docs/*.md", "lib"], "docs/x.md"),
        ([], ["**"], None),
    ],
)
def test_overlaps(one: list[str], two: list[str], witness: str | None) -> None:
    assert overlap(Scope.parse(one), Scope.parse(two)) == witness
    assert (overlap(Scope.parse(two), Scope.parse(one)) is None) == (witness is None)


@pytest.mark.req("P5")
@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("", "is empty"),
        ("  ", "is empty"),
        (" a", "begins or ends with a blank"),
        ("a\n", "begins or ends with a blank"),
        ("a\\*b", "contains a backslash"),
        ("!a", "begins with '!': there is no negation"),
        ("/etc/passwd", "is an absolute path"),
        ("C:/x", "is an absolute path"),
        ("~/x", "begins with '~'"),
        ("a?c", "contains '?'"),
        ("t[0-9].py", "contains a character class"),
        ("t[a-zA-Z]", "contains a character class"),
        ("t[!a].py", "contains a character class"),
        ("*.{ts,tsx}", "contains '{…,…}'"),
        ("a//b", "contains '//'"),
        (".", "names the folder itself with '.'"),
        ("./", "names the folder itself with '.'"),
        ("./a", "contains a '.' between slashes"),
        ("a/./b", "contains a '.' between slashes"),
        ("..", "contains '..'"),
        ("a/../b", "contains '..'"),
        ("a/..", "contains '..'"),
        (".git", "names git's own folder"),
        ("a/.GIT/hooks", "names git's own folder"),
        ("src/**.py", "has '**' inside a name"),
        ("a**/b", "has '**' inside a name"),
        ("***", "has '**' inside a name"),
        ("a\0b", "contains a character that cannot be shown"),
        ("a\x1b[31mb", "contains a character that cannot be shown"),
        ("a\ud800", "contains a character that cannot be shown"),
        ("a" * 2000, "is longer than 1024 characters or 64 names"),
        ("a/" * 200 + "a", "is longer than 1024 characters or 64 names"),
    ],
)
def test_what_is_no_pattern_is_refused_with_advice(pattern: str, what: str) -> None:
    with pytest.raises(PlanError) as caught:
        Scope.parse(["fine", pattern])
    (problem,) = caught.value.problems
    assert problem.what == what
    assert problem.fix
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("pattern", [".github/x.yml", ".gitignore", "[id]", "[post-id]/x", "a..b", "{x}", "a b", "..."])
def test_what_only_looks_strange_is_a_pattern(pattern: str) -> None:
    assert Scope.parse([pattern]).matches(pattern)


def test_all_wrong_patterns_are_told_at_once() -> None:
    with pytest.raises(PlanError) as caught:
        Scope.parse(["/a", "b", "c?"])
    assert [problem.where for problem in caught.value.problems] == ["pattern '/a'", "pattern 'c?'"]
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (str(again), again.problems) == (str(caught.value), caught.value.problems)


def test_a_scope_explains_itself() -> None:
    scope = Scope.parse(["a", "b/", "c/**", "d/*.py", "**", "**/*"])
    assert scope.explain().splitlines() == [
        "the file a, or everything below the folder a",
        "everything below the folder b",
        "everything below the folder c",
        "files that match d/*.py, but not what lies in a folder that does",
        "everything in the repository",
    ]
    assert repr(Scope.parse(["a", "b/"])) == "Scope(a, b/)"
    assert Scope().explain() == "no file"
    assert scope.allows("d/x.py") == "d/*.py"
    assert (bool(Scope()), bool(scope), Scope.parse(["a"]) == Scope.parse(["a"])) == (False, True, True)


@pytest.mark.timeout(20)
def test_hostile_patterns_and_paths_take_no_time() -> None:
    stars = "*a" * 400 + "*b"
    assert not Scope.parse([stars]).matches("a" * 4000)
    deep = "**/" + "*/**/" * 30 + "b.c"
    assert not Pattern.parse(deep).matches("/".join(["a"] * 1000))
    assert overlap(Scope.parse([deep]), Scope.parse(["**/" + "a*/**/" * 30 + "c.c"])) is None


@pytest.mark.parametrize("module", ["scope", "graph"])
def test_scopes_and_graphs_start_cold_without_pydantic_and_yaml(module: str) -> None:
    code = f"import sys, coordstore_orchestrator.plan.{module}; print({{'pydantic', 'yaml'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
