"""Whether all paths of one scope lie in another: what may be delegated lies within what is one's own.

A pattern is walked step by step, with the set of positions of the other scope's patterns that every path so far has
certainly reached. A step that stands for many names moves a position only where the other's step stands for at least
as many. So what is called inside is inside, whatever files will exist; of patterns that only several of the other's
patterns together cover, name by name, it may be denied. A name alone stands for a file and for a folder with all
below; it is inside as soon as the file is, which is what is meant where the other scope has only files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from coordstore_orchestrator.plan.pattern import ACROSS, ANY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore_orchestrator.plan.pattern import Pattern, Step
    from coordstore_orchestrator.plan.scope import Scope

    Places: TypeAlias = frozenset[tuple[int, int]]

__all__ = ["beyond"]

NEVER: Final = "\0"
"""What no name has, in place of a star: only a star can stand for it."""


def beyond(inner: Scope, outer: Scope) -> str | None:
    """Return the first pattern of a scope that reaches beyond another; None: all of it is inside.

    >>> from coordstore_orchestrator.plan.scope import Scope
    >>> beyond(Scope.parse(["src/api/*.py", "docs"]), Scope.parse(["src"]))
    'docs'
    """
    return next((pattern.text for pattern in inner.patterns if not _inside(_least(pattern), outer)), None)


def _least(pattern: Pattern) -> tuple[Step, ...]:
    """Return the steps that a pattern has by its words, without what below a name is meant too."""
    implied = pattern.steps[-1] == ACROSS and not pattern.text.endswith(("/", ACROSS.text))
    return pattern.steps[:-1] if implied else pattern.steps


def _inside(steps: tuple[Step, ...], outer: Scope) -> bool:
    rows = [each.steps for each in outer.patterns]
    start = (0, _skip(frozenset((row, 0) for row in range(len(rows))), rows))
    seen, waiting = {start}, [start]
    while waiting:
        at, places = waiting.pop()
        if at == len(steps) and not any(place == len(rows[row]) for row, place in places):
            return False
        for state in _moves(steps, at, places, rows):
            if state not in seen:
                seen.add(state)
                waiting.append(state)
    return True


def _moves(
    steps: tuple[Step, ...], at: int, places: Places, rows: list[tuple[Step, ...]]
) -> Iterator[tuple[int, Places]]:
    if at == len(steps):
        return
    if steps[at] == ACROSS:
        yield at + 1, places
        yield at, _after(ANY, places, rows)
    else:
        yield at + 1, _after(steps[at], places, rows)


def _after(step: Step, places: Places, rows: list[tuple[Step, ...]]) -> Places:
    """Return where one is for certain after any name that a step stands for."""
    open_places = [(row, place) for row, place in places if place < len(rows[row])]
    stay = {(row, place) for row, place in open_places if rows[row][place] == ACROSS}
    move = {(row, place + 1) for row, place in open_places if _covers(rows[row][place], step)}
    return _skip(frozenset(stay | move), rows)


def _covers(wide: Step, narrow: Step) -> bool:
    """Tell whether a step stands for every name that another one stands for."""
    return wide != ACROSS and (wide == ANY or wide.fits(NEVER.join(narrow.parts) if narrow.wild else narrow.text))


def _skip(places: Places, rows: list[tuple[Step, ...]]) -> Places:
    found = set(places)
    for row, place in places:
        at = place
        while at < len(rows[row]) and rows[row][at] == ACROSS:
            at += 1
            found.add((row, at))
    return frozenset(found)
