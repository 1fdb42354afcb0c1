"""Registers the orchestrator's commands; imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl

if TYPE_CHECKING:
    from coordstore.hookspecs import RegisterCommand, RegisterExamination

__all__ = ["register_commands", "register_examinations"]


@hookimpl
def register_commands(register: RegisterCommand) -> None:
    """Register the orchestrator's commands."""
    here = "coordstore_orchestrator.cli"
    register("run", f"{here}.run:run", summary="Run a plan with parallel agents and merge their work.")
    register("worker", f"{here}.worker:worker", summary="Run agents on this host for a store's sessions.")
    register("plan", f"{here}.plan:plan", summary="Make, check and show plans; print an example or the schema.")
    register("cancel", f"{here}.cancel:cancel", summary="Cancel a session, or some of its tasks.")
    register("retry", f"{here}.retry:retry", summary="Try tasks again that failed or were cancelled.")
    register("send", f"{here}.send:send", summary="Send a message to a task, an attempt, or the orchestrator.")
    register("pause", f"{here}.pause:pause", summary="Start nothing new in a session; what runs goes on.")
    register("resume", f"{here}.pause:resume", summary="Let a paused session start attempts again.")
    register("mcp", f"{here}.mcp:mcp", summary="Serve an agent's reports and messages over MCP, inside an agent.")
    register("profiles", f"{here}.profiles:profiles", summary="List agent profiles, and probe what agents can do.")
    register("agent", f"{here}.agent:agent", summary="Report to one's worker, from inside an agent.")
    register("merge", f"{here}.merge:merge", summary="Merge a session's result into a branch, without a checkout.")
    register("changes", f"{here}.changes:changes", summary="List, show and decide on work that waits for a review.")
    register("gc", f"{here}.gc:gc", summary="Remove what finished sessions keep, never unlanded work unless told.")


@hookimpl
def register_examinations(register: RegisterExamination) -> None:
    """Register what is looked at for running agents."""
    here = "coordstore_orchestrator.checkup"
    register("agents", f"{here}:agents", summary="agents that are installed and proven")
    register("worker limit", f"{here}:limits", summary="how many agents may run at a time")
