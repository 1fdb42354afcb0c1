"""What a plugin can add to the making of plans: one hook, one sentence."""

from __future__ import annotations

from typing import Protocol

from coordstore.hookspecs import hookspec

__all__ = ["RegisterPlanner", "register_planners"]


class RegisterPlanner(Protocol):
    """The callable that `register_planners` receives."""

    def __call__(self, name: str, maker: str, *, summary: str) -> None:
        """Register ``module:function`` (a `PlannerMaker`, imported at the first use) under a planner's name."""


@hookspec
def register_planners(register: RegisterPlanner) -> None:
    """Register planners, which make a plan of a goal."""
