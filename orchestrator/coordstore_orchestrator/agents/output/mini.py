"""Reads mini-swe-agent, which prints for people and writes its trajectory anew after each step.

An ``assistant`` message is a step, with the commands it runs; a ``tool`` message brings what became of one; ``exit``
ends the run, and any status but "Submitted" is a failure: it has no other way to say so.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from coordstore.session import events
from coordstore_orchestrator.agents.output.reader import JsonLines, JsonObject, money

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MiniReader"]

SUBMITTED = "Submitted"


class MiniReader(JsonLines):
    """Reads a trajectory as it grows."""

    def __init__(self) -> None:
        super().__init__()
        self._seen = 0
        self._cost: float | None = None

    def feed(self, stream: str, line: bytes) -> list[events.Event]:
        """Take one line, which is for people."""
        del stream, line
        return []

    def record(self, data: bytes) -> list[events.Event]:
        """Take the whole trajectory; return what is new. One that is being written is read the next time."""
        try:
            found = json.loads(data)
            messages = found["messages"]
            new = [message for message in messages[self._seen :] if isinstance(message, dict)]
        except (ValueError, RecursionError, KeyError, TypeError):
            return []
        self._seen = len(messages)
        told = [event for message in new for event in self.gather(self.read(message))]
        return told + self.gather(self._usage(found))

    def read(self, found: JsonObject) -> Iterator[events.Event]:
        """Yield what one message tells."""
        role, extra = found.get("role"), found.get("extra") or {}
        if role == "assistant":
            yield self.step()
            yield from self.say(found.get("content"))
            for action in extra.get("actions") or ():
                yield self.call("bash", {"command": action["command"]})
        elif role == "tool" or "returncode" in extra:
            ok = extra.get("returncode") == 0
            yield self.result("bash", extra.get("raw_output") or extra.get("exception_info"), ok=ok)
        elif role == "exit":
            status = extra.get("exit_status")
            if status != SUBMITTED:
                text = str(found.get("content") or "")
                yield self.fail(text if text.startswith(str(status)) else f"{status}: {text}".strip(": "))
        else:
            self.unknown += role not in ("system", "user")

    def _usage(self, found: JsonObject) -> Iterator[events.Event]:
        cost = money(((found.get("info") or {}).get("model_stats") or {}).get("instance_cost"))
        if cost != self._cost:
            self._cost = cost
            yield events.Usage(cost_usd=cost)
