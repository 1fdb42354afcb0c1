"""Reads OpenAI Codex: ``codex exec --json``.

Items start and complete; one that is no remark (command, file change, tool, search) is one step when it starts, or
when it completes without having been seen to start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.session import events
from coordstore_orchestrator.agents.output.reader import JsonLines, JsonObject, count, short

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CodexReader"]

REMARKS: Final = ("agent_message", "reasoning", "error", "todo_list")


class CodexReader(JsonLines):
    """Reads the JSON lines of ``codex exec``."""

    def __init__(self) -> None:
        super().__init__()
        self._started: set[str] = set()

    def read(self, found: JsonObject) -> Iterator[events.Event]:
        """Yield what one object tells."""
        kind = found.get("type")
        if kind in ("item.started", "item.completed"):
            yield from self._item(found["item"], done=kind == "item.completed")
        elif kind == "turn.completed":
            usage = found.get("usage") or {}
            yield events.Usage(
                input_tokens=count(usage.get("input_tokens")), output_tokens=count(usage.get("output_tokens"))
            )
        elif kind == "turn.failed":
            yield self.fail((found.get("error") or {}).get("message"))
        elif kind == "error":
            yield events.Error(text=short(str(found.get("message"))))
        else:
            self.unknown += kind not in ("thread.started", "turn.started", "item.updated")

    def _item(self, item: JsonObject, *, done: bool) -> Iterator[events.Event]:
        kind = item.get("type")
        if kind in REMARKS:
            if done and kind == "agent_message":
                yield self.step()
                yield from self.say(item.get("text"))
            elif done and kind == "error":
                yield events.Note(text=short(str(item.get("message"))))  # it goes on: a warning, whatever it is called
            return
        name, arguments = _called(item)
        if str(item.get("id")) not in self._started:
            self._started.add(str(item.get("id")))
            yield self.step()
            yield self.call(name, arguments)
        if done:
            if kind == "file_change":
                paths = tuple(str(change["path"]) for change in item.get("changes") or ())
                yield events.FilesChanged(paths=paths[:100], count=len(paths))
            ok = item.get("status") != "failed" and item.get("exit_code") in (0, None)
            yield self.result(name, item.get("aggregated_output") or item.get("error") or item.get("result"), ok=ok)


def _called(item: JsonObject) -> tuple[object, object]:
    """Return the name and the arguments of what an item does."""
    if item.get("type") == "mcp_tool_call":
        return f"{item.get('server')}.{item.get('tool')}", item.get("arguments")
    if item.get("type") == "command_execution":
        return "command_execution", {"command": item.get("command")}
    telling = {name: item[name] for name in ("query", "changes", "prompt") if name in item}
    return item.get("type"), telling
