"""The result equals `git merge` in the same order, tree for tree; the full numbers are a fault campaign."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from coordstore_orchestrator.merge.integrate import Integration
from tests.git.corpus import Case, cases, check

if TYPE_CHECKING:
    from pathlib import Path

QUICK = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@pytest.mark.req("G1")
@pytest.mark.timeout(300)
@given(cases())
@QUICK
def test_the_result_is_that_of_git_merge(case: Case) -> None:
    check(case)


@pytest.mark.req("G1")
@pytest.mark.timeout(120)
def test_what_the_corpus_is_for_happens() -> None:
    """A union, a conflict with either side, a move against a change, a file against a folder."""
    files = {".gitattributes": "CHANGES merge=union\n", "CHANGES": "one\n", "a.txt": "x\ny\nz\n", "b.txt": "b\n"}
    found = check(
        Case(
            files,
            (
                (("append", "CHANGES", "two\n"), ("move", "a.txt", "moved.txt")),
                (("append", "CHANGES", "three\n"), ("prepend", "a.txt", "w\n")),
                (("write", "b.txt", "B\n"),),
                (("delete", "b.txt", ""),),
                (("write", "new", "a file\n"),),
                (("write", "new/inside.txt", "i\n"),),
            ),
        )
    )
    assert found["merged"] >= 4
    assert found["refused"] == 2


@pytest.mark.timeout(300)
def test_merging_without_the_attributes_of_the_base_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Integration, _base: str, _session: Path) -> None:
        return

    monkeypatch.setattr(Integration, "_set_attributes", nothing)
    case = Case(
        {".gitattributes": "CHANGES merge=union\n", "CHANGES": "one\n"},
        ((("append", "CHANGES", "two\n"),), (("append", "CHANGES", "three\n"),)),
    )
    with pytest.raises(AssertionError):
        check(case)


def test_the_dice_of_the_corpus_are_not_loaded() -> None:
    """Deletes, moves, new files and unions are all drawn."""
    seen: Counter[str] = Counter()

    @given(cases())
    @settings(max_examples=60, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    def draw(case: Case) -> None:
        seen.update(what for branch in case.branches for what, _, _ in branch)
        seen.update(["union"] if "union" in case.files.get(".gitattributes", "") else [])

    draw()
    assert min(seen[what] for what in ("append", "prepend", "write", "delete", "move", "union")) > 3, seen
