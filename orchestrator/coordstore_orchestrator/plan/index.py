"""Many patterns in one tree, so that those which meet another are found without comparing it with each.

The tree shares the beginnings of patterns: one edge for each step. It is walked in product with the pattern that is
looked up, and at every node only the edges that can meet its next step are followed: a plain name by a dictionary,
a step with stars by the text before its first star, which must agree with the other's.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Generic, TypeVar

from coordstore_orchestrator.plan.pattern import ACROSS, Step, common

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = ["PatternIndex"]

T = TypeVar("T")


class _Node(Generic[T]):
    """All patterns that begin with the steps which lead here."""

    __slots__ = ("across", "edges", "loops", "prefixes", "values")

    def __init__(self, *, loops: bool = False) -> None:
        self.loops = loops
        self.across: _Node[T] | None = None
        self.edges: dict[str, dict[Step, _Node[T]]] = {}  # by the step's text before its first star
        self.prefixes: list[str] | None = None  # the keys of edges, sorted; made when first needed
        self.values: list[T] = []

    def child(self, step: Step) -> _Node[T]:
        """Return the node behind a step; make it when there is none."""
        if step == ACROSS:
            self.across = self.across or _Node(loops=True)
            return self.across
        self.prefixes = None
        return self.edges.setdefault(step.parts[0], {}).setdefault(step, _Node())

    def children(self) -> Iterator[_Node[T]]:
        """Yield the nodes one name further."""
        for edges in self.edges.values():
            yield from edges.values()

    def meeting(self, step: Step) -> Iterator[_Node[T]]:
        """Yield the nodes behind the steps that have a name in common with this one."""
        prefix = step.parts[0]
        candidates = [prefix[:length] for length in range(len(prefix))]
        candidates += self._extending(prefix) if step.wild else [prefix]
        for key in candidates:
            for other, node in self.edges.get(key, {}).items():
                if common(step, other) is not None:
                    yield node

    def _extending(self, prefix: str) -> Iterator[str]:
        if self.prefixes is None:
            self.prefixes = sorted(self.edges)
        for at in range(bisect_left(self.prefixes, prefix), len(self.prefixes)):
            if not self.prefixes[at].startswith(prefix):
                return
            yield self.prefixes[at]


class PatternIndex(Generic[T]):
    """Patterns, each with a value, to be asked which of them meet another pattern or contain a path.

    Args:
        entries: Steps of a pattern and what to hand out for it.
    """

    def __init__(self, entries: Iterable[tuple[Sequence[Step], T]] = ()) -> None:
        self._root: _Node[T] = _Node()
        self._count = 0
        for steps, value in entries:
            self.add(steps, value)

    def __repr__(self) -> str:
        """Show how many patterns it has."""
        return f"<PatternIndex of {self._count}>"

    def add(self, steps: Sequence[Step], value: T) -> None:
        """Add a pattern; the same one may be added again with another value."""
        node = self._root
        for step in steps:
            node = node.child(step)
        node.values.append(value)
        self._count += 1

    def meeting(self, steps: Sequence[Step]) -> Iterator[T]:
        """Yield the value of every pattern that has a path in common with these steps, each once."""
        todo = [(self._root, 0)]
        seen = {(id(self._root), 0)}
        while todo:
            node, at = todo.pop()
            if at == len(steps):
                yield from node.values
            for following, position in self._moves(node, at, steps):
                if (id(following), position) not in seen:
                    seen.add((id(following), position))
                    todo.append((following, position))

    @staticmethod
    def _moves(node: _Node[T], at: int, steps: Sequence[Step]) -> Iterator[tuple[_Node[T], int]]:
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
        yield from ((child, at + 1) for child in node.meeting(step))

    def containing(self, names: Sequence[str]) -> Iterator[T]:
        """Yield the value of every pattern that contains the path of these names, each once."""
        return self.meeting([Step(name, (name,)) for name in names])
