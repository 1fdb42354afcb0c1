"""The detectors and the recovery policy that come with coord; they register by the same hooks as a stranger's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.hookspecs import hookimpl
from coordstore_orchestrator.monitor import recovery

if TYPE_CHECKING:
    from coordstore_orchestrator.monitor.detect.hookspecs import RegisterDetector, RegisterRecovery

__all__ = ["register_detectors", "register_recoveries"]


@hookimpl
def register_detectors(register: RegisterDetector) -> None:
    """Register the detectors that come with coord."""
    here = "coordstore_orchestrator.monitor.detect"
    register("stall", f"{here}.stall:Stall", limit=60, summary="seconds without a step, and then of stillness")
    register("tool", f"{here}.stall:OpenCall", limit=900, summary="the same while a tool call is open")
    register("silence", f"{here}.stall:Silence", limit=15, summary="seconds of silence of a model that was asked")
    register("errors", f"{here}.patterns:Errors", limit=3, summary="errors in a row")
    register("progress", f"{here}.patterns:Progress", limit=10, summary="steps without a changed file")
    register("repeats", f"{here}.patterns:Repeats", limit=3, summary="the same tool call in a row")
    register("chatter", f"{here}.patterns:Chatter", limit=3, summary="messages without a tool call that succeeded")
    register("nudge", f"{here}.patterns:Nudge", limit=5, summary="rounds before it is reminded to say that it is done")


@hookimpl
def register_recoveries(register: RegisterRecovery) -> None:
    """Register the policy that comes with coord."""
    register("standard", recovery.standard)
