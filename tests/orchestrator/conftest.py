"""The simulated processes fail by the hundred; what they log of it is of no use here."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def quiet() -> Iterator[None]:
    """Log nothing during a test."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)
