"""Lets background work give way: a thread that computes for long would make every other one wait for its turn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["paced"]

Item = TypeVar("Item")

_STRETCH: Final = 0.00025
"""Seconds of work between two pauses; the interpreter itself would let a thread go on twenty times as long."""
_PAUSE: Final = 0.00005


def paced(items: Iterable[Item]) -> Iterator[Item]:
    """Yield items, with a short pause whenever some work has been done; never under a lock."""
    until = time.monotonic() + _STRETCH
    for item in items:
        yield item
        if time.monotonic() > until:
            time.sleep(_PAUSE)
            until = time.monotonic() + _STRETCH
