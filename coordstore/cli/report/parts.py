"""Small parts that several sections of the report's page use: states, times, amounts, links."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.cli.advice import standing
from coordstore.cli.report.markup import Markup, tag
from coordstore.cli.times import span

if TYPE_CHECKING:
    from coordstore.session.task import Attempt, Task
    from coordstore.session.view import SessionView

__all__ = ["amount", "attempt_id", "duration", "money", "ref_link", "state", "task_id", "task_word", "tone", "word"]

TONES: Final = {
    "completed": "good",
    "landed": "good",
    "merged": "good",
    "running": "run",
    "failed": "bad",
    "refused": "bad",
    "lost": "bad",
    "partial": "warn",
    "stopped": "warn",
    "cancelled": "warn",
}
SYMBOLS: Final = {"good": "✓", "bad": "✗", "warn": "⊘", "run": "●", "soft": "○"}
"""A state is never told by its colour alone."""


def tone(said: str) -> str:
    """Return the colour class of a state's word."""
    return TONES.get(said, "soft")


def state(said: str) -> Markup:
    """Return a state with its symbol, in its colour."""
    found = tone(said)
    return tag("span", tag("span", SYMBOLS[found], aria_hidden="true"), f" {said}", class_=f"state {found}")


def word(attempt: Attempt) -> str:
    """Return an attempt's state in one word."""
    return "lost" if attempt.lost else str(attempt.state)


def task_word(view: SessionView, task: Task) -> str:
    """Return in one word what became of a task."""
    if task.latest is not None and task.latest.lost:
        return "lost"
    work = standing(view, task)
    return work if work in ("landed", "merged", "refused") else str(task.state)


def task_id(task: str) -> str:
    """Return the place of a task on the page."""
    return f"task-{task}"


def attempt_id(agent: str) -> str:
    """Return the place of an attempt on the page."""
    return f"attempt-{agent}"


def ref_link(task: str) -> Markup:
    """Return a link to a task."""
    return tag("a", task, href=f"#{task_id(task)}")


def duration(seconds: float | None) -> str:
    """Return a length of time; a dash when nothing ran."""
    return "–" if seconds is None else f"{seconds:.1f}s" if seconds < 10 else span(seconds)  # noqa: PLR2004


def amount(number: int) -> str:
    """Return a count with thin groups."""
    return f"{number:,}".replace(",", "\u202f")


def money(dollars: float | None) -> str:
    """Return US dollars; a dash when nobody said."""
    return "–" if dollars is None else f"${dollars:,.2f}" if dollars >= 1 else f"${dollars:.4f}"
