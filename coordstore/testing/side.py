"""One of two stores that are compared: its own numbers for what both agree on, and its results as plain data."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Final

from coordstore.errors import CoordError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore.store import CoordStore, Lease

__all__ = ["Returned", "Side"]

_REVISIONS: Final = {"revision", "create_revision", "current", "number"}
"""Names of parts that are revisions."""
_OWN_NUMBERS: Final = {"lease", "token", "op"}
"""Parts of errors that each side numbers for itself."""


@dataclass(frozen=True)
class Returned:
    """A returned number that is a revision."""

    number: int


@dataclass
class Side:
    """One of the two stores, and its own numbers for the model's revisions and for the leases by index.

    Attributes:
        store: The store.
        revisions: The model's revisions to this side's.
        aliases: This side's revisions at which the model had none of its own, to the one before that has.
        leases: The leases, by index.
    """

    store: CoordStore
    revisions: dict[int, int] = field(default_factory=lambda: {0: 0})
    aliases: dict[int, int] = field(default_factory=dict)
    leases: list[Lease] = field(default_factory=list)

    def revision(self, of_model: int) -> int:
        """Return this side's number for a revision of the model; one that is not there yet stays that; 0 is absent."""
        return self.revisions.get(of_model, of_model + 1_000_000) if of_model else 0

    def position(self, of_model: int) -> int:
        """Return the last of this side's numbers at which the model was at a revision: where a watch goes on."""
        number = self.revisions.get(of_model, of_model + 1_000_000)
        return max([number, *(alias for alias, first in self.aliases.items() if first == number)])

    def lease(self, index: int | None) -> Lease | None:
        """Return a lease by its index, wrapped around; None when there are none."""
        return self.leases[index % len(self.leases)] if index is not None and self.leases else None

    def plain(self, value: object, revisions: Mapping[int, int], name: str = "") -> object:
        """Return a result as plain data, its revisions read through a map and its leases as their index.

        Args:
            value: What an operation returned or raised, or a part of it.
            revisions: This side's numbers to the numbers to show.
            name: Under which name the value stands in what holds it.
        """
        if name == "lease":
            return [lease.id for lease in self.leases].index(value) if isinstance(value, int) else None
        if name == "current" and value == 0:
            return 0
        if name in _REVISIONS and isinstance(value, int):
            return revisions.get(value)
        if isinstance(value, list):
            return [self.plain(item, revisions) for item in value]
        if isinstance(value, CoordError):
            parts = {part: held for part, held in vars(value).items() if part not in _OWN_NUMBERS}
        elif is_dataclass(value):
            parts = {part.name: getattr(value, part.name) for part in fields(value)}
        elif isinstance(value, tuple) and hasattr(value, "_asdict"):
            parts = value._asdict()
        else:
            return value
        return type(value).__name__, {part: self._held(part, held, revisions) for part, held in parts.items()}

    def _held(self, name: str, value: object, revisions: Mapping[int, int]) -> object:
        if name == "revisions" and isinstance(value, dict):
            return {key: seen and revisions.get(seen) for key, seen in value.items()}
        return self.plain(value, revisions, name)
