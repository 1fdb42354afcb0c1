"""Planted-broken stores, each a MemoryStore with one bug that real stores have had: the suite must catch them all.

A suite that cannot fail proves nothing. Every store here names in `caught_by` the topic of the conformance suite
that must fail on it; a test of the suite demands that, and that the sound MemoryStore passes.
"""

from coordstore.testing.broken import feeds, holders, writes
from coordstore.testing.broken.base import BrokenStore

__all__ = ["BROKEN", "BrokenStore"]

BROKEN: tuple[type[BrokenStore], ...] = tuple(
    getattr(module, name) for module in (writes, feeds, holders) for name in module.__all__
)
"""All of them; each is called with the `Memory` that its handles share."""
