"""Reads Gemini CLI: ``--output-format stream-json``.

A ``tool_use`` is a step, and so is a message that is not followed by one. Its ``tool_result`` of a shell command says
"success" whatever became of it; the exit code, where there is one, stands in the output.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from coordstore.session import events
from coordstore_orchestrator.agents.output.reader import JsonLines, JsonObject, count, short

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["GeminiReader"]

FAILED_EXIT: Final = re.compile(r"^Exit Code: (?!0\b)", re.MULTILINE)


class GeminiReader(JsonLines):
    """Reads ``stream-json`` as Gemini CLI writes it; a message comes in pieces."""

    def __init__(self) -> None:
        super().__init__()
        self._tools: dict[str, str] = {}
        self._pieces: list[str] = []

    def read(self, found: JsonObject) -> Iterator[events.Event]:
        """Yield what one object tells."""
        kind = found.get("type")
        if kind == "message":
            if found.get("role") == "assistant":
                self._pieces.append(str(found.get("content") or ""))
            return
        yield from self._message()
        if kind == "tool_use":
            yield self.step()
            self._tools[str(found.get("tool_id"))] = str(found.get("tool_name"))
            yield self.call(found.get("tool_name"), found.get("parameters"))
        elif kind == "tool_result":
            text = str(found.get("output") or found.get("error") or "")
            ok = found.get("status") == "success" and not FAILED_EXIT.search(text)
            yield self.result(self._tools.get(str(found.get("tool_id"))), text, ok=ok)
        elif kind == "error":
            yield events.Error(text=short(str(found.get("message"))))
        elif kind == "result":
            yield from self._result(found)
        else:
            self.unknown += kind != "init"

    def finish(self) -> list[events.Event]:
        """Return the message that nothing followed."""
        return list(self._message())

    def _message(self) -> Iterator[events.Event]:
        text, self._pieces = "".join(self._pieces), []
        if text.strip():
            yield self.step()
            yield from self.say(text)

    def _result(self, found: JsonObject) -> Iterator[events.Event]:
        stats = found.get("stats") or {}
        yield events.Usage(
            input_tokens=count(stats.get("input_tokens")), output_tokens=count(stats.get("output_tokens"))
        )
        if found.get("status") == "error":
            yield self.fail((found.get("error") or {}).get("message"))
