"""The state machine finds no difference between the stores and their model, and finds one that is planted."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import Phase

from coordstore import open_store
from coordstore.testing import Memory, MemoryStore
from coordstore.testing.broken import BROKEN, BrokenStore
from coordstore.testing.stateful import check_against_memory

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from coordstore import CoordStore

pytestmark = [pytest.mark.req("S1", "S4", "S5", "S6", "S7", "S10"), pytest.mark.timeout(120)]

FOUND_BY_STEPS = ["PrefixLeak", "AppliedConflict", "HalfKeptPromise", "BusyRevision", "ForgottenHead", "StickyLease"]


def test_memory_does_what_memory_does() -> None:
    check_against_memory(MemoryStore, examples=40)


@pytest.mark.parametrize("unplaced", [1024, 2])
def test_sqlite_does_what_memory_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unplaced: int) -> None:
    monkeypatch.setattr("coordstore_sqlite.draft._UNPLACED", unplaced)
    numbers = itertools.count()

    def fresh() -> AbstractAsyncContextManager[CoordStore]:
        return open_store(f"sqlite:{tmp_path}/{next(numbers)}.db")

    check_against_memory(fresh, examples=40)


@pytest.mark.parametrize("broken", [store for store in BROKEN if store.__name__ in FOUND_BY_STEPS])
def test_a_planted_bug_is_found(broken: type[BrokenStore]) -> None:
    with pytest.raises((AssertionError, ExceptionGroup)):
        check_against_memory(lambda: broken(Memory()), phases=[Phase.generate], derandomize=True)
