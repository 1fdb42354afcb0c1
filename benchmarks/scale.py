"""What one orchestrator costs per task, for a thousand agents on a hundred hosts and for ten times as many, simulated."""

from __future__ import annotations

from typing import Final

__all__ = ["measure"]

AGENTS: Final = 1_000
TIMES: Final = 10
GOAL: Final = 2.0
"""How much dearer a task may be among ten times as many."""
