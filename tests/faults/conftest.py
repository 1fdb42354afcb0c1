"""Fault trials run their stores beside one another in this process; what blocks a loop is for other tests to tell."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import blockbuster


@pytest.fixture(autouse=True)
def no_blocking_call(guard_against_blocking: blockbuster.BlockBuster) -> Iterator[list[str]]:
    """Take the guard off: a lock that another trial's thread holds for a moment would count as a blocking call."""
    guard_against_blocking.deactivate()
    yield []
    guard_against_blocking.activate()
