"""Planted-broken stores, each with one bug that real stores have had: the checker must catch every one.

A checker that cannot fail proves nothing. Each store names in `caught_by` the rules of which at least one must be
found broken within a budget of seeds. They are slow and faulty like `FaultyStore`, in which nothing may be found.
"""

from coordstore.testing.history.broken.base import BrokenStore
from coordstore.testing.history.broken.feeds import FEEDS
from coordstore.testing.history.broken.reads import READS
from coordstore.testing.history.broken.writes import WRITES

__all__ = ["BROKEN", "BrokenStore"]

BROKEN: tuple[type[BrokenStore], ...] = (*WRITES, *READS, *FEEDS)
"""All of them."""
