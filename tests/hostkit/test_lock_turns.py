"""A thread that waits for a lock comes next, however soon its holder takes the lock again."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from coordstore.hostkit.lockfile import LockedFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.req("S13")
def test_a_holder_that_comes_back_at_once_does_not_starve_who_waits(tmp_path: Path) -> None:
    file = LockedFile(tmp_path / "lock", 30)
    came = threading.Event()

    def wait_once() -> None:
        with file.held():
            came.set()

    waiter = threading.Thread(target=wait_once)
    turns = 0
    with file.held():
        waiter.start()
        while not file._gate.locked():
            """Until it waits."""
    while not came.is_set():
        with file.held():
            turns += 1
    waiter.join()
    file.close()
    assert turns <= 1
