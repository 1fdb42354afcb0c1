"""Reads Claude Code and its kin (Qwen Code): ``--output-format stream-json``.

One ``assistant`` line is one step; its content are texts and tool calls. ``user`` lines bring the tools' results, a
``result`` line ends the run, with ``is_error`` as the truth: its ``subtype`` says "success" after failures too.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from coordstore.session import events
from coordstore_orchestrator.agents.output.reader import JsonLines, JsonObject, count, money

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ClaudeReader"]

LAST: Final = re.compile(rb'\s*\{\s*"type"\s*:\s*"result"')


class ClaudeReader(JsonLines):
    """Reads ``stream-json`` as Claude Code writes it."""

    def __init__(self) -> None:
        super().__init__()
        self._tools: dict[str, str] = {}
        self._message: object = None

    def feed(self, stream: str, line: bytes) -> list[events.Event]:
        """Take one line; the last one is known by how it begins, for one that is too long is cut."""
        self.ended = self.ended or (stream == "stdout" and LAST.match(line) is not None)
        return super().feed(stream, line)

    def read(self, found: JsonObject) -> Iterator[events.Event]:
        """Yield what one object tells."""
        kind = found.get("type")
        if kind == "assistant":
            yield from self._assistant(found["message"])
        elif kind == "user":
            for part in _parts(found["message"]):
                if part.get("type") == "tool_result":
                    name = self._tools.get(str(part.get("tool_use_id")))
                    yield self.result(name, part.get("content"), ok=not part.get("is_error"))
        elif kind == "result":
            yield from self._result(found)
        elif kind == "system":
            yield from self._system(found)
        else:
            self.unknown += 1

    def _assistant(self, message: JsonObject) -> Iterator[events.Event]:
        yield self.step()
        for part in _parts(message):
            if part.get("type") == "tool_use":
                self._tools[str(part.get("id"))] = str(part.get("name"))
                yield self.call(part.get("name"), part.get("input"))
            elif part.get("type") == "text":
                yield from self.say(part.get("text"))

    def _system(self, found: JsonObject) -> Iterator[events.Event]:
        if found.get("subtype") == "api_retry":
            status, tries = found.get("error_status"), f"{found.get('attempt')} of {found.get('max_retries')}"
            yield events.Error(text=f"status {status} from the model's API ({found.get('error')}), attempt {tries}")

    def _result(self, found: JsonObject) -> Iterator[events.Event]:
        usage = found.get("usage") or {}
        cached = count(usage.get("cache_creation_input_tokens")) + count(usage.get("cache_read_input_tokens"))
        yield events.Usage(
            input_tokens=count(usage.get("input_tokens")) + cached,
            output_tokens=count(usage.get("output_tokens")),
            cost_usd=money(found.get("total_cost_usd")),
        )
        if found.get("is_error"):
            said = found.get("result") or found.get("error") or found.get("subtype")
            status = found.get("api_error_status")
            yield self.fail(f"status {status} from the model's API: {said}" if status else said)


def _parts(message: JsonObject) -> list[dict[str, Any]]:
    content = message.get("content")
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    return [part for part in content or () if isinstance(part, dict)]
