"""The backend keeps coordstore's contract, says the suite that comes with coordstore."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.testing import StoreTests

if TYPE_CHECKING:
    from pathlib import Path

    from coordstore.testing.suite import OpenStore


class TestJsonFile(StoreTests):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: open_store(f"jsonfile:{tmp_path}/store.jsonl")
