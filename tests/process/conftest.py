"""A guardian and a bench for each test; after it nothing that was started may be left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore_orchestrator.worker.process import Guardian
from tests.process.bench import Bench

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with Guardian() as guardian:
        bench = Bench(guardian, tmp_path)
        yield bench
    assert await bench.remains() == []
