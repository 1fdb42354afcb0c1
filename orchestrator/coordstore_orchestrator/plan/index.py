"""Many patterns in two trees, so that those which meet another are found without comparing it with each.

A tree shares the beginnings of patterns: one edge for each step. It is walked in product with the pattern that is
looked up, and at every node only the edges that can meet its next step are followed: a plain name by a dictionary,
a step with stars by the text before its first star, which must agree with the other's.

The second tree has everything mirrored, names and letters, because in ``**/*_api.py`` all that tells it from others
stands at the end. Both find the same; they are walked in turn, and who is done first has answered.
"""

from __future__ import annotations

import sys
from bisect import bisect_left
from itertools import chain, cycle
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from coordstore_orchestrator.plan.pattern import ACROSS, Step, common

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["PatternIndex"]

T = TypeVar("T")
TRIES: Final = 16
"""Edges that one walk looks at before it is the other's turn."""
_NONE: Final[dict[str, Any]] = {}
"""What is empty in most of the many nodes is this one, never written: a node gets its own with its first edge."""


class _Node(Generic[T]):
    """All patterns that begin with the steps which lead here."""

    __slots__ = ("across", "loops", "plain", "sorted", "stars", "values")

    def __init__(self, *, loops: bool = False) -> None:
        self.loops = loops  # whether the step that leads here is `ACROSS`, which goes on taking names
        self.across: _Node[T] | None = None
        self.plain: dict[str, _Node[T]] = _NONE
        self.stars: dict[str, dict[Step, _Node[T]]] = _NONE  # by the text before the first star
        self.sorted: list[str] | None = None  # the keys of both; made when first needed
        self.values: tuple[T, ...] = ()

    def child(self, step: Step) -> _Node[T]:
        """Return the node behind a step; make it when there is none."""
        if step == ACROSS:
            self.across = self.across or _Node(loops=True)
            return self.across
        self.sorted = None
        if step.wild:
            self.stars = self.stars or {}
            return self.stars.setdefault(step.parts[0], {}).setdefault(step, _Node())
        self.plain = self.plain or {}
        return self.plain.setdefault(step.text, _Node())

    def children(self) -> Iterator[_Node[T]]:
        """Yield the nodes one name further."""
        yield from self.plain.values()
        for edges in self.stars.values():
            yield from edges.values()

    def meeting(self, step: Step) -> Iterator[_Node[T] | None]:
        """Yield the nodes behind the steps that have a name in common with this one, and None for each other try."""
        prefix = step.parts[0]
        keys = self._extending(prefix) if step.wild else (prefix,)
        for key in keys:
            if key in self.plain:
                yield self.plain[key] if step.fits(key) else None
        if self.stars:
            for key in chain((prefix[:length] for length in range(len(prefix))), keys):
                for other, node in self.stars.get(key, {}).items():
                    yield node if common(step, other) is not None else None

    def _extending(self, prefix: str) -> list[str]:
        if self.sorted is None:
            self.sorted = sorted({*self.plain, *self.stars})
        start = bisect_left(self.sorted, prefix)
        end = bisect_left(self.sorted, prefix + chr(sys.maxunicode), start)  # which stands in no pattern
        return self.sorted[start:end]


class _Tree(Generic[T]):
    """Patterns with values, by their beginnings."""

    __slots__ = ("root",)

    def __init__(self) -> None:
        self.root: _Node[T] = _Node()

    def add(self, steps: Sequence[Step], value: T) -> None:
        node = self.root
        for step in steps:
            node = node.child(step)
        node.values = (*node.values, value)

    def walk(self, steps: Sequence[Step]) -> Iterator[Sequence[T]]:
        """Yield after every bit of work the values that it found; each value once."""
        todo = [(self.root, 0)]
        seen = {(id(self.root), 0)}
        while todo:
            node, at = todo.pop()
            yield node.values if at == len(steps) else ()
            for count, move in enumerate(self._moves(node, at, steps), 1):
                if move is not None and (id(move[0]), move[1]) not in seen:
                    seen.add((id(move[0]), move[1]))
                    todo.append(move)
                if count % TRIES == 0:
                    yield ()

    @staticmethod
    def _moves(node: _Node[T], at: int, steps: Sequence[Step]) -> Iterator[tuple[_Node[T], int] | None]:
        """Yield the states that follow, and None for an edge that was tried in vain."""
        if node.across is not None:
            yield node.across, at
        if at == len(steps):
            return
        step = steps[at]
        if step == ACROSS:
            yield node, at + 1
            yield from ((child, at) for child in node.children())
            return
        if node.loops:
            yield node, at + 1
        yield from ((child, at + 1) if child is not None else None for child in node.meeting(step))


class PatternIndex(Generic[T]):
    """Patterns, each with a value, to be asked which of them meet another pattern or contain a path.

    Args:
        entries: Steps of a pattern and what to hand out for it.
    """

    __slots__ = ("_count", "_forward", "_mirrored")

    def __init__(self, entries: Iterable[tuple[Sequence[Step], T]] = ()) -> None:
        self._forward: _Tree[T] = _Tree()
        self._mirrored: _Tree[T] = _Tree()
        self._count = 0
        for steps, value in entries:
            self.add(steps, value)

    def __repr__(self) -> str:
        """Show how many patterns it has."""
        return f"<PatternIndex of {self._count}>"

    def add(self, steps: Sequence[Step], value: T) -> None:
        """Add a pattern; the same one may be added again with another value."""
        self._forward.add(steps, value)
        self._mirrored.add(_mirror(steps), value)
        self._count += 1

    def meeting(self, steps: Sequence[Step]) -> list[T]:
        """Return the value of every pattern that has a path in common with these steps, each once, in no order."""
        walks: list[tuple[Iterator[Sequence[T]], list[T]]] = [
            (self._forward.walk(steps), []),
            (self._mirrored.walk(_mirror(steps)), []),
        ]
        for walk, found in cycle(walks):
            values = next(walk, None)
            if values is None:
                return found
            found.extend(values)
        return []  # never: a cycle of two has no end

    def containing(self, names: Sequence[str]) -> list[T]:
        """Return the value of every pattern that contains the path of these names, each once, in no order."""
        return self.meeting([Step(name, (name,)) for name in names])


def _mirror(steps: Sequence[Step]) -> list[Step]:
    return [Step(step.text[::-1], tuple(part[::-1] for part in reversed(step.parts))) for step in reversed(steps)]
