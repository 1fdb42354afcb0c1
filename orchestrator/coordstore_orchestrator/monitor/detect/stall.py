"""Agents of whom nothing is seen any more: a stall, with evidence, and silence inside a call of the model.

Time without a step opens a suspicion and proves nothing: compilers, tests and models take theirs. The verdict needs
that output, files and the processor time of all its processes stood still as long again as the limit says, over two
pulses that the worker measured on one clock. While a tool call is open its own, longer limit counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordstore.session import events
from coordstore_orchestrator.monitor.detect.finding import Detector, Finding

if TYPE_CHECKING:
    from coordstore_orchestrator.monitor.detect.finding import Subject

__all__ = ["OpenCall", "Silence", "Stall"]

IDLE_CPU: Final = 0.02
"""The share of one processor that a program uses which does nothing but wake up."""
CPU_SLACK: Final = 0.05
"""Seconds of processor time that count as none, whatever the window."""
ACTS: Final = (
    *(events.Step, events.ToolCall, events.ToolResult, events.Message, events.FilesChanged, events.Progress),
    *(events.Delegated, events.Waiting, events.Woken),
)


class Stall(Detector):
    """No step, and then neither output nor processor time nor a changed file, while no tool call is open."""

    in_call = False

    def __init__(self, subject: Subject, limit: float) -> None:
        super().__init__(subject, limit)
        self._open = 0
        self._acted = False
        self._suspected = False
        self._since: events.Pulse | None = None

    def see(self, event: events.Event) -> Finding | None:
        """Take the attempt's next event; return what follows from it."""
        if isinstance(event, events.Pulse):
            return self._pulse(event)
        if isinstance(event, ACTS):
            self._acted, self._suspected, self._since = True, False, None
        if isinstance(event, events.ToolCall):
            self._open += 1
        elif isinstance(event, events.ToolResult):
            self._open = max(0, self._open - 1)
        elif isinstance(event, events.Step):
            self._open = 0
        return None

    def _pulse(self, pulse: events.Pulse) -> Finding | None:
        if self._since is None or _moves(self._since, pulse):
            self._since = pulse
        if bool(self._open) != self.in_call or pulse.still < self.limit:
            return None
        if pulse.up - self._since.up >= self.limit:
            return self._verdict(self._since, pulse)
        if not self._suspected:
            self._suspected = True
            return Finding("suspect", f"no step for {pulse.still:.0f} s", evidence=self._evidence(self._since, pulse))
        return None

    def _verdict(self, before: events.Pulse, now: events.Pulse) -> Finding:
        evidence = self._evidence(before, now)
        what = "never started" if evidence["class"] == "never-started" else "stalled"
        where = " in a tool call" if self.in_call else ""
        reason = f"{what}{where}: no step for {now.still:.0f} s, and no output, processor time or file in the last"
        hint = (
            "An earlier attempt hung until it was stopped. Start nothing that waits for input or runs for ever; give"
            " commands a timeout."
        )
        return Finding("stop", f"{reason} {now.up - before.up:.0f} s", hint, evidence)

    def _evidence(self, before: events.Pulse, now: events.Pulse) -> dict[str, Any]:
        return {
            "class": "running" if self._acted or now.output else "never-started",
            "still": now.still,
            "window": now.up - before.up,
            "cpu": now.cpu - before.cpu,
            "output": now.output - before.output,
            "files": now.files - before.files,
            "open_calls": self._open,
        }


class OpenCall(Stall):
    """The same while a tool call is open: tests and builds may wait for longer."""

    in_call = True


def _moves(before: events.Pulse, now: events.Pulse) -> bool:
    """Tell whether something was done between two pulses."""
    idle = IDLE_CPU * (now.up - before.up) + CPU_SLACK
    return now.output != before.output or now.files != before.files or now.cpu - before.cpu > idle


class Silence(Detector):
    """Nothing comes from a model that is known to be asked: only the agent's own stream can say that it is."""

    def __init__(self, subject: Subject, limit: float) -> None:
        super().__init__(subject, limit)
        self._asking = False

    def see(self, event: events.Event) -> Finding | None:
        """Take the attempt's next event; return what follows from it."""
        if isinstance(event, events.ModelCall):
            self._asking = True
        elif isinstance(event, (*ACTS, events.Error, events.Usage, events.Completion)):
            self._asking = False
        elif isinstance(event, events.Pulse) and self._asking and event.quiet >= self.limit:
            reason = f"silent: its model was asked and nothing came for {event.quiet:.0f} s"
            hint = "An earlier attempt's model did not answer in time: ask it for less at a time."
            return Finding("stop", reason, hint, {"quiet": event.quiet, "output": event.output})
        return None
