"""One result of a look at something: what was looked at, how it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from coordstore.url import StoreURL

__all__ = ["Checkup", "Examination", "Finding", "Level"]


class Level(StrEnum):
    """How it is."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """A result.

    Args:
        check: What was looked at, in a word or two.
        level: How it is.
        text: What was found.
        advice: What to do about it; empty when it is ok.
    """

    check: str
    level: Level
    text: str
    advice: str = ""

    @classmethod
    def ok(cls, check: str, text: str) -> Finding:
        """Make one about something that is as it should be."""
        return cls(check, Level.OK, text)

    @classmethod
    def warning(cls, check: str, text: str, advice: str) -> Finding:
        """Make one about something that works, but not for long or not as well as it could."""
        return cls(check, Level.WARNING, text, advice)

    @classmethod
    def problem(cls, check: str, text: str, advice: str) -> Finding:
        """Make one about something that does not work or is not safe."""
        return cls(check, Level.PROBLEM, text, advice)


Checkup: TypeAlias = Callable[[StoreURL], Iterable[Finding]]
"""What `register_checkups` takes: looks at the store of a URL without opening or changing it; blocks."""
Examination: TypeAlias = Callable[[], Iterable[Finding]]
"""What `register_examinations` takes: looks at this installation without changing it; blocks."""
