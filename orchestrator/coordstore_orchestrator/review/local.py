"""The forge that is none: the record in the store is all there is, and `coord changes` shows it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordstore.session.changes import Change
    from coordstore_orchestrator.review.model import Decision, Tools

__all__ = ["Local"]


class Local:
    """Shows nothing elsewhere, and hears of nothing from elsewhere."""

    def __init__(self, tools: Tools) -> None:
        del tools

    async def open(self, change: Change) -> str | None:
        """Give no address."""
        del change
        return None

    async def decision(self, change: Change) -> Decision | None:
        """Decide nothing."""
        del change
        return None

    async def close(self, change: Change) -> None:
        """Do nothing: the record says it."""
