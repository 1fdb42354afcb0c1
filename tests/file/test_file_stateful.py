"""The state machine finds no difference between the File store and the model, also when it compacts all the time."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from coordstore.testing.stateful import check_against_memory
from coordstore_file import compaction, homes, journal, replica, upkeep

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.req("S1", "S4", "S5", "S6", "S7", "S10", "S13"), pytest.mark.timeout(120)]


@pytest.mark.parametrize("restless", [False, True])
def test_files_do_what_memory_does(tmp_path: Path, restless: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if restless:
        monkeypatch.setattr(compaction, "LOG_BYTES", 200)
        # But no history goes: a watch then begins with a reset, which the model, asked at its own time, does not.
        monkeypatch.setattr(compaction, "_HISTORY", 1_000_000)
        monkeypatch.setattr(journal, "_SEGMENT", 300)
        monkeypatch.setattr(homes, "ROLL", 100)
        monkeypatch.setattr(replica, "_RECENT", 2)
        monkeypatch.setattr(upkeep, "_PAUSE", 0)
        monkeypatch.setattr(upkeep, "_SHARE", 0)
    numbers = itertools.count()
    check_against_memory(lambda: open_store(f"file:{tmp_path}/{next(numbers)}?durability=process"), examples=40)
