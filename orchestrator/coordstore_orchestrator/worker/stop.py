"""How a running attempt, or a process of it, is told to stop."""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["CANCELLED", "INTERRUPTED", "Stop"]

CANCELLED: Final = "cancelled"
INTERRUPTED: Final = "interrupted"


class Stop:
    """Tells a running attempt to stop, once, with a code and a reason."""

    def __init__(self) -> None:
        self.code = ""
        self.reason = ""
        self._asked = asyncio.Event()

    def ask(self, code: str, reason: str) -> None:
        """Ask it to stop; the first asking counts."""
        if not self._asked.is_set():
            self.code, self.reason = code, reason
            self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether it was asked."""
        return self._asked.is_set()

    async def wait(self) -> None:
        """Return once it is asked."""
        await self._asked.wait()
