"""MemoryStore keeps the contract, on virtual time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from coordstore.testing import Clock, Memory, MemoryStore, StoreTests

if TYPE_CHECKING:
    from coordstore.testing.suite import Advance, OpenStore

pytestmark = pytest.mark.req("S1", "S4", "S5", "S6", "S7", "S8", "S9", "S10", "S13")


class TestMemory(StoreTests):
    @pytest.fixture
    def clock(self) -> Clock:
        return Clock()

    @pytest.fixture
    def open_store(self, clock: Clock) -> OpenStore:
        memory = Memory(clock)
        return lambda: MemoryStore(memory)

    @pytest.fixture
    def advance(self, clock: Clock) -> Advance:
        return clock.advance
