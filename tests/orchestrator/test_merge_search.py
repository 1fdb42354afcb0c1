"""Culprits are found in few validations, whatever breaks: one alone, two or three only together, any number of them."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from coordstore_orchestrator.merge.search import Culprit, Failure, Findings, Search

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

Tasks = tuple[str, ...]


class Tree:
    """A tree that fails when it holds all of some set; counts how often it was asked, and how many at a time."""

    def __init__(self, broken: Iterable[Iterable[str]], wants: Iterable[str] = ()) -> None:
        self.broken = [set(each) for each in broken]
        self.wants = set(wants)
        self.asked: list[Tasks] = []
        self.at_once = self.most = 0

    async def __call__(self, tasks: Tasks) -> Failure | None:
        self.asked.append(tasks)
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        found = [broken for broken in self.broken if broken <= set(tasks)]
        if found or not self.wants <= set(tasks):
            return Failure(f"{sorted(map(sorted, found))}")
        return None


def search(order: Tasks, tree: Tree, needs: Mapping[str, Iterable[str]] | None = None, width: int = 1) -> Findings:
    return asyncio.run(Search(order, needs or {}, tree, width).run())


def bound(tasks: int, culprits: int) -> int:
    return culprits * math.ceil(math.log2(tasks)) + 2 * culprits + 1


THIRTY = tuple(f"t{number}" for number in range(30))


@pytest.mark.req("G2")
def test_what_passes_is_validated_once() -> None:
    tree = Tree([])
    assert search(THIRTY, tree) == Findings(THIRTY)
    assert tree.asked == [THIRTY]
    assert search((), Tree([set()])) == Findings(())


@pytest.mark.req("G2")
def test_three_alone_and_two_together_among_thirty() -> None:
    tree = Tree([{"t4"}, {"t11"}, {"t28"}, {"t7", "t19"}])
    found = search(THIRTY, tree)
    assert {culprit.tasks for culprit in found.culprits} == {("t4",), ("t11",), ("t28",), ("t7", "t19")}
    assert found.kept == tuple(task for task in THIRTY if task not in {"t4", "t7", "t11", "t19", "t28"})
    assert len(tree.asked) <= bound(30, 5)
    assert tree.asked.count(found.kept) == 1
    assert tree.most == 2


def test_what_needs_a_culprit_goes_with_it() -> None:
    needs = {"b": ["a"], "c": ["b"], "d": []}
    found = search(("a", "b", "c", "d"), Tree([{"b"}]), needs)
    assert found == Findings(("a", "d"), (Culprit(("b",), Failure("[['b']]")),))


def test_a_culprit_is_tried_together_with_what_it_needs() -> None:
    needs = {"c": ["a"]}
    tree = Tree([{"b", "c"}])
    assert [culprit.tasks for culprit in search(("a", "b", "c", "d"), tree, needs).culprits] == [("b", "c")]
    assert ("a", "c") in tree.asked
    assert ("c",) not in tree.asked


@pytest.mark.req("G2")
def test_a_tree_that_fails_for_what_is_missing_has_each_left_out_in_turn() -> None:
    tree = Tree([{"c"}], wants={"a", "e"})
    found = search(("a", "b", "c", "d", "e"), tree, width=3)
    assert (found.kept, [culprit.tasks for culprit in found.culprits]) == (("a", "b", "d", "e"), [("c",)])
    assert tree.most == 3
    never = search(("a", "b"), Tree([set()]))
    assert (never.kept, never.culprits, never.hopeless) == ((), (), Failure("[[]]"))


def test_one_validation_that_raises_ends_the_others() -> None:
    ended: list[str] = []

    async def probe(tasks: Tasks) -> Failure | None:
        if len(tasks) == 4:
            return Failure("whole")
        if tasks == ("c",):
            raise RuntimeError
        if "d" in tasks:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append("rest")
        return Failure("c") if "c" in tasks else None

    with pytest.raises(RuntimeError):
        asyncio.run(Search(("a", "b", "c", "d"), {}, probe).run())
    assert ended == ["rest"]


# Any culprits --------------------------------------------------------------------------------------------------------


@st.composite
def trees(draw: st.DrawFn) -> tuple[Tasks, list[frozenset[str]], dict[str, list[str]]]:
    """Draw tasks, disjoint culprits among them, and needs that lead from one culprit-free task to another."""
    order = tuple(f"t{number}" for number in range(draw(st.integers(1, 40))))
    free, broken = list(draw(st.permutations(order))), list[frozenset[str]]()
    for size in draw(st.lists(st.integers(1, 3), max_size=6)):
        if len(free) >= size:
            broken.append(frozenset(free.pop() for _ in range(size)))
    needs: dict[str, list[str]] = {}
    for task in sorted(free):
        before: list[str] = [other for other in free if order.index(other) < order.index(task)]
        needs[task] = draw(st.lists(st.sampled_from(before), max_size=1)) if before else []
    return order, broken, needs


def judge(drawn: tuple[Tasks, list[frozenset[str]], dict[str, list[str]]]) -> None:
    order, broken, needs = drawn
    tree = Tree(broken)
    found = search(order, tree, needs)
    assert {frozenset(culprit.tasks) for culprit in found.culprits} == set(broken)
    gone = set().union(*broken)
    assert found.kept == tuple(task for task in order if task not in gone)
    assert not found.kept or found.kept in tree.asked, "what lands was never validated"
    assert len(tree.asked) == len(set(tree.asked)), "something was validated twice"
    assert len(tree.asked) <= bound(len(order), len(gone)), tree.asked


@pytest.mark.req("G2")
@given(trees())
@settings(max_examples=300)
def test_the_right_ones_are_left_out_within_the_bound(
    drawn: tuple[Tasks, list[frozenset[str]], dict[str, list[str]]],
) -> None:
    judge(drawn)


def never_looks_for_partners(plant: pytest.MonkeyPatch) -> None:
    async def complete(self: Search, kept: Tasks, first: int) -> tuple[Culprit, Tasks, Failure | None]:
        rest = self._without(kept, [kept[first - 1]])
        return Culprit((kept[first - 1],), Failure("")), rest, await self._fails(rest)

    plant.setattr(Search, "_complete", complete)


def walks(plant: pytest.MonkeyPatch) -> None:
    async def shortest(self: Search, kept: Tasks, members: Iterable[str], passes: int, fails: int) -> int:
        for count in range(passes + 1, fails):
            if await self._fails(self._with_needs([*kept[:count], *members])) is not None:
                return count
        return fails

    plant.setattr(Search, "_shortest", shortest)


def lands_without_a_last_look(plant: pytest.MonkeyPatch) -> None:
    whole = Search._complete

    async def complete(self: Search, kept: Tasks, first: int) -> tuple[Culprit, Tasks, Failure | None]:
        culprit, rest, _ = await whole(self, kept, first)
        return culprit, rest, None

    plant.setattr(Search, "_complete", complete)


@pytest.mark.parametrize("bug", [never_looks_for_partners, walks, lands_without_a_last_look])
def test_a_planted_bug_is_caught(bug: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch) -> None:
    bug(monkeypatch)
    quick = settings(max_examples=300, phases=[Phase.generate], database=None)
    with pytest.raises(AssertionError):
        quick(given(trees())(judge))()
