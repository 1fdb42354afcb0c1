"""Reads a command that just prints: what it printed last is what it says, and any output is a sign of life."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore_orchestrator.agents.output.reader import Reader, short

if TYPE_CHECKING:
    from coordstore.session import events

__all__ = ["PlainReader"]


class PlainReader(Reader):
    """Reads nothing in particular; steps are counted by whoever watches output and files."""

    live = True

    def feed(self, stream: str, line: bytes) -> list[events.Event]:
        """Take one line; the last one on standard output that is not blank is remembered."""
        if stream == "stdout" and line.strip():
            self.said = short(line.decode(errors="replace").strip())
            self.last.append(self.said)
        return []
