"""Planted-broken stores, each a MemoryStore with one bug that real stores have had: the suite must catch them all.

A suite that cannot fail proves nothing. Every store here names in `caught_by` the topic of the conformance suite
that must fail on it; a test of the suite demands that, and that the sound MemoryStore passes.
"""

from coordstore.testing.broken.base import BrokenStore
from coordstore.testing.broken.table import BROKEN

__all__ = ["BROKEN", "BrokenStore"]
