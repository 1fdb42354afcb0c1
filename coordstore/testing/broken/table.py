"""The list of all planted-broken stores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.testing.broken import feeds, holders, writes

if TYPE_CHECKING:
    from coordstore.testing.broken.base import BrokenStore

__all__ = ["BROKEN"]

BROKEN: Final[tuple[type[BrokenStore], ...]] = tuple(
    getattr(module, name) for module in (writes, feeds, holders) for name in module.__all__
)
"""All of them; each is called with the `Memory` that its handles share."""
