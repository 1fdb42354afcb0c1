"""Registers the orchestrator's commands; imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore.hookspecs import RegisterCommand

__all__ = ["register_commands"]


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Register the orchestrator's commands."""
    here = "coordstore_orchestrator.cli"
    register("run", f"{here}.run:run", summary="Run a plan with parallel agents and merge their work.")
    register("plan", f"{here}.plan:plan", summary="Make, check and show plans; print an example or the schema.")
    register("cancel", f"{here}.cancel:cancel", summary="Cancel a session, or some of its tasks.")
    register("profiles", f"{here}.profiles:profiles", summary="List agent profiles, and probe what agents can do.")
    register("agent", f"{here}.agent:agent", summary="Report to one's worker, from inside an agent.")
    register("merge", f"{here}.merge:merge", summary="Merge a session's result into a branch, without a checkout.")
    register("changes", f"{here}.changes:changes", summary="List, show and decide on work that waits for a review.")
    register("gc", f"{here}.gc:gc", summary="Remove what finished sessions keep, never unlanded work unless told.")
