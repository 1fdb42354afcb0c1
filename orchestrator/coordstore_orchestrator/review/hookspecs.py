"""What a plugin can add to how work is reviewed: one hook, one sentence."""

from __future__ import annotations

from typing import Protocol

from coordstore.hookspecs import hookspec

__all__ = ["RegisterReview", "register_forges", "register_reviewers"]


class RegisterReview(Protocol):
    """The callable that both hooks receive."""

    def __call__(self, name: str, maker: str, *, summary: str) -> None:
        """Register ``module:callable`` (from `Tools` to a `Reviewer` or `Forge`, imported at the first use)."""


@hookspec
def register_reviewers(register: RegisterReview) -> None:
    """Register who can decide on changes."""


@hookspec
def register_forges(register: RegisterReview) -> None:
    """Register where changes can be shown and decided on."""
