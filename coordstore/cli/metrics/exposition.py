"""Prometheus' text format: families of samples with their help, labels escaped, in a stable order."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BUCKETS", "Family", "render"]

BUCKETS: Final = (1, 5, 15, 60, 180, 600, 1800, 3600, 14400)
"""Upper bounds of a histogram's buckets, in seconds: from a script that is done at once to an agent's long evening."""


@dataclass(slots=True)
class Family:
    """One metric with its samples.

    Args:
        name: As it is queried.
        kind: ``gauge``, ``counter`` or ``histogram``.
        help: One sentence.
    """

    name: str
    kind: str
    help: str
    lines: list[str] = field(default_factory=list)

    def add(self, value: float, **labels: str) -> None:
        """Add a sample."""
        self._add("", value, labels)

    def observe(self, values: Sequence[float], **labels: str) -> None:
        """Add a histogram of values."""
        for bound in BUCKETS:
            self._add("_bucket", sum(value <= bound for value in values), {**labels, "le": str(bound)})
        self._add("_bucket", len(values), {**labels, "le": "+Inf"})
        self._add("_sum", sum(values), labels)
        self._add("_count", len(values), labels)

    def _add(self, suffix: str, value: float, labels: dict[str, str]) -> None:
        told = ",".join(f'{name.rstrip("_")}="{_escaped(text)}"' for name, text in labels.items())
        number = str(round(value, 6))
        self.lines.append(f"{self.name}{suffix}{{{told}}} {number}" if told else f"{self.name}{suffix} {number}")


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def render(families: Iterable[Family]) -> str:
    """Return the text; families without a sample are left out."""
    parts = []
    for family in families:
        if family.lines:
            parts += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}", *family.lines]
    return "\n".join(parts) + "\n"
