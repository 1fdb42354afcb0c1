"""Reads OpenCode: ``opencode run --format json``. A tool is told of only when it has ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore.session import events
from coordstore_orchestrator.agents.output.reader import JsonLines, JsonObject, count, money

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OpencodeReader"]


class OpencodeReader(JsonLines):
    """Reads the JSON lines of ``opencode run``; tokens and costs come per step and are added up."""

    def __init__(self) -> None:
        super().__init__()
        self._input = 0
        self._output = 0
        self._cost = 0.0

    def read(self, found: JsonObject) -> Iterator[events.Event]:
        """Yield what one object tells."""
        kind, part = found.get("type"), found.get("part") or {}
        if kind == "step_start":
            yield self.step()
        elif kind == "tool_use":
            yield from self._tool(part)
        elif kind == "text":
            yield from self.say(part.get("text"))
        elif kind == "step_finish":
            yield self._usage(part)
        elif kind == "error":
            error = found.get("error") or {}
            yield self.fail((error.get("data") or {}).get("message") or error.get("name") or error)
        else:
            self.unknown += 1

    def _tool(self, part: JsonObject) -> Iterator[events.Event]:
        state = part["state"]
        yield self.call(part.get("tool"), state.get("input"))
        ok = state.get("status") == "completed" and (state.get("metadata") or {}).get("exit") in (0, None)
        yield self.result(part.get("tool"), state.get("output") or state.get("error"), ok=ok)

    def _usage(self, part: JsonObject) -> events.Usage:
        tokens = part.get("tokens") or {}
        self._input += count(tokens.get("input"))
        self._output += count(tokens.get("output"))
        self._cost += money(part.get("cost")) or 0.0
        return events.Usage(input_tokens=self._input, output_tokens=self._output, cost_usd=self._cost)
