"""Reads pi: ``--mode json``.

A turn is a step. An error of the model is a message that stopped for it; the exit status is 0 all the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.session import events
from coordstore_orchestrator.agents.output.reader import JsonLines, JsonObject, count, money

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["PiReader"]

KNOWN: Final = frozenset({"session", "agent_start", "agent_end", "turn_end"})


class PiReader(JsonLines):
    """Reads the JSON lines of pi; tokens and costs come per message and are added up."""

    def __init__(self) -> None:
        super().__init__()
        self._input = 0
        self._output = 0
        self._cost = 0.0

    def read(self, found: JsonObject) -> Iterator[events.Event]:
        """Yield what one object tells."""
        kind = found.get("type")
        if kind == "turn_start":
            yield self.step()
        elif kind == "tool_execution_start":
            yield self.call(found.get("toolName"), found.get("args"))
        elif kind == "tool_execution_end":
            text = (found.get("result") or {}).get("content")
            yield self.result(found.get("toolName"), text, ok=not found.get("isError"))
        elif kind == "message_start":
            if found["message"].get("role") == "assistant":
                yield events.ModelCall()
        elif kind in ("message_update", "tool_execution_update"):
            self.signs += 1
        elif kind == "message_end":
            yield from self._message(found["message"])
        else:
            self.unknown += kind not in KNOWN

    def _message(self, message: JsonObject) -> Iterator[events.Event]:
        if message.get("role") != "assistant":
            return
        self.failed = None  # an error was tried again
        for part in message.get("content") or ():
            if part.get("type") == "text":
                yield from self.say(part.get("text"))
        if message.get("stopReason") == "error":
            yield self.fail(message.get("errorMessage"))
        usage = message.get("usage") or {}
        self._input += count(usage.get("input")) + count(usage.get("cacheRead")) + count(usage.get("cacheWrite"))
        self._output += count(usage.get("output"))
        self._cost += money((usage.get("cost") or {}).get("total")) or 0.0
        yield events.Usage(input_tokens=self._input, output_tokens=self._output, cost_usd=self._cost)
