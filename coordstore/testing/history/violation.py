"""What the checks report: a broken rule, in words, with the operations that show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coordstore.testing.history.record import Operation

__all__ = ["Violation"]


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule.

    Args:
        rule: Its name, the same for every instance.
        message: What was seen and what should have been.
        operations: The operations concerned.
    """

    rule: str
    message: str
    operations: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        """Show the rule, the message and the operations below it."""
        return "\n".join([f"{self.rule}: {self.message}", *(f"    {operation}" for operation in self.operations)])
