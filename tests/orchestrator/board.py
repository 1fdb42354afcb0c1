"""A session's keys without a store: for rules that are functions of what is seen and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from coordstore.model import Entry
from coordstore.session import SessionView

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Board:
    """Keys with revisions, written one at a time.

    Args:
        plan: Specifications by task; a sequence of names is short for what it needs.
    """

    def __init__(self, plan: Mapping[str, Sequence[str] | Mapping[str, Any]]) -> None:
        self.revision = 0
        self.entries: dict[str, Entry] = {}
        self.put("meta", {"order": list(plan), "ready": True})
        for task, spec in plan.items():
            self.put(f"tasks/{task}", dict(spec) if isinstance(spec, dict) else {"needs": list(spec)})

    def put(self, name: str, value: object) -> None:
        self.revision += 1
        data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
        self.entries[f"s1/{name}"] = Entry(f"s1/{name}", data, self.revision, self.revision)

    def drop(self, name: str) -> None:
        self.entries.pop(f"s1/{name}", None)

    def attempt(self, agent: str, state: str, code: str | None = None, reason: str | None = None) -> Board:
        """Put an attempt in a state; `running` with a claim, `lost` without."""
        self.put(f"agents/{agent}/status", "running" if state == "lost" else state)
        self.drop(f"agents/{agent}/claim")
        if state == "running":
            self.put(f"agents/{agent}/claim", {"pid": 1})
        if state in ("completed", "failed", "cancelled"):
            self.put(f"agents/{agent}/result", {"code": code or state, "reason": reason})
        return self

    def merge(self, task: str, refused: str | None = None) -> Board:
        self.put(f"merged/{task}", {"merged": refused is None, **({"refused": refused} if refused else {})})
        return self

    def view(self) -> SessionView:
        return SessionView.of("s1", self.entries.values(), self.revision)
