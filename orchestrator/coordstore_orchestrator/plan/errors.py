"""What is wrong with a plan: every problem at once, each with its place and what to change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from coordstore.errors import CoordError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["PlanError", "Problem", "plain", "shown"]

_SHOWN = 80


def plain(text: str) -> str:
    """Return the text on one line with nothing in it that a terminal would obey."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def shown(value: object, limit: int = _SHOWN) -> str:
    """Return a value as it is quoted in a message: in quotes, on one line, cut to the limit."""
    text = plain(value) if isinstance(value, str) else plain(repr(value))
    cut = text if len(text) <= limit else f"{text[:limit]}…"
    return f"'{cut}'" if isinstance(value, str) else cut


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong.

    Args:
        where: The place: tasks by id, or a key of the plan.
        what: What is wrong there.
        fix: What to change.
    """

    where: str
    what: str
    fix: str = ""

    def __str__(self) -> str:
        """Return the problem on one line."""
        place = f"{self.where}: " if self.where else ""
        fix = f"; {self.fix}" if self.fix else ""
        return plain(f"{place}{self.what}{fix}")


class PlanError(CoordError, ValueError):
    """A plan cannot be run as it is; nothing was created.

    Args:
        message: All problems, one on a line.
        problems: The same as data.
    """

    hint: ClassVar[str] = "The message names tasks and paths to change; `coord plan example` explains every key."

    def __init__(self, message: str, *, problems: Iterable[Problem] = ()) -> None:
        super().__init__(message)
        self.problems: list[Problem] = list(problems)

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> PlanError:
        """Return the error whose message lists these problems."""
        listed = list(problems)
        return cls("\n".join(map(str, listed)), problems=listed)
