"""The planners that come with coord; they register as a stranger's do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore_orchestrator.plan.hookspecs import RegisterPlanner

__all__ = ["register_planners"]


@hookimpl
def register_planners(register: RegisterPlanner) -> None:
    """Register the planners of coord."""
    here = "coordstore_orchestrator.plan"
    register("command", f"{here}.by_command:make", summary="PROGRAM [ARGUMENT]...: prints a plan, asked on its stdin.")
    register("file", f"{here}.by_file:make", summary="PATH: the plan that a file holds.")
    register("llm", f"{here}.by_model:make", summary="MODEL: a model behind an OpenAI-compatible API (extra llm).")
