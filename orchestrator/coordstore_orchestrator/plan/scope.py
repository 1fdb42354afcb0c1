"""The files that a task may write or read: a set of patterns, asked about paths and about other scopes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from coordstore_orchestrator.plan.errors import PlanError, Problem
from coordstore_orchestrator.plan.index import PatternIndex
from coordstore_orchestrator.plan.pattern import Pattern, meet, split_path

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Clash", "Scope", "clash", "overlap"]


class Clash(NamedTuple):
    """Where two scopes meet: a pattern of the one, a pattern of the other, and a path that is in both."""

    one: str
    two: str
    path: str


class Scope:
    """A set of patterns; a path is in the scope when it is in one of them, and in none when there are none.

    Args:
        patterns: As `Pattern.parse` made them.
    """

    __slots__ = ("_index", "patterns")

    def __init__(self, patterns: Iterable[Pattern] = ()) -> None:
        self.patterns: tuple[Pattern, ...] = tuple(patterns)
        self._index: PatternIndex[int] = PatternIndex((each.steps, at) for at, each in enumerate(self.patterns))

    @classmethod
    def parse(cls, patterns: Iterable[str]) -> Scope:
        """Read a scope as a plan states it.

        >>> Scope.parse(["src", "docs/*.md"]).matches("src/deep/down.py")
        True

        Raises:
            PlanError: With a problem for every pattern that is none.
        """
        read: list[Pattern] = []
        problems: list[Problem] = []
        for text in patterns:
            try:
                read.append(Pattern.parse(text))
            except PlanError as error:
                problems += error.problems
        if problems:
            raise PlanError.of(problems)
        return cls(read)

    def __repr__(self) -> str:
        """Show the patterns."""
        return f"Scope({', '.join(pattern.text for pattern in self.patterns)})"

    def __eq__(self, other: object) -> bool:
        """Tell whether the other is a scope of the same patterns."""
        return isinstance(other, Scope) and self.patterns == other.patterns

    def __hash__(self) -> int:
        """Hash the patterns."""
        return hash(self.patterns)

    def __bool__(self) -> bool:
        """Tell whether any path can be in the scope."""
        return bool(self.patterns)

    def matches(self, path: str) -> bool:
        """Tell whether a path, written from the root with slashes as git does, is in the scope.

        What is no such path (absolute, empty, with ``.`` or ``..``) is in no scope.
        """
        return self.allows(path) is not None

    def allows(self, path: str) -> str | None:
        """Return the first pattern that contains the path, or None."""
        names = split_path(path)
        found = self._index.containing(names) if names else []
        return self.patterns[min(found)].text if found else None

    def outside(self, paths: Iterable[str]) -> list[str]:
        """Return the paths that are not in the scope, sorted."""
        return sorted({path for path in paths if not self.matches(path)})

    def explain(self) -> str:
        """Say in words which paths are in the scope, one line for each pattern."""
        lines = dict.fromkeys(pattern.explain() for pattern in self.patterns)
        return "\n".join(lines) or "no file"

    def meeting(self, pattern: Pattern) -> Pattern | None:
        """Return the first pattern of this scope that has a path in common with the given one, or None."""
        found = self._index.meeting(pattern.steps)
        return self.patterns[min(found)] if found else None


def clash(one: Scope, two: Scope) -> Clash | None:
    """Return where two scopes meet, or None when no path can be in both."""
    for pattern in one.patterns:
        other = two.meeting(pattern)
        path = meet(pattern, other) if other is not None else None
        if other is not None and path is not None:
            return Clash(pattern.text, other.text, path)
    return None


def overlap(one: Scope, two: Scope) -> str | None:
    """Return a path that is in both scopes, whether or not the file exists yet; None when there can be none.

    >>> overlap(Scope.parse(["src/**/*.py"]), Scope.parse(["src/api"]))
    'src/api/x.py'
    >>> overlap(Scope.parse(["docs/*.md"]), Scope.parse(["docs/api/*.md"])) is None
    True
    """
    found = clash(one, two)
    return found.path if found else None
