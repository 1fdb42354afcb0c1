"""The etcd backend keeps the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.testing import StoreTests

if TYPE_CHECKING:
    from coordstore.testing.suite import OpenStore

pytestmark = pytest.mark.req("S1", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S13")


class TestEtcd(StoreTests):
    slack = 1.5  # etcd looks for ended leases twice a second

    @pytest.fixture
    def open_store(self, etcd_url: str) -> OpenStore:
        return lambda: open_store(etcd_url, compaction="own")
