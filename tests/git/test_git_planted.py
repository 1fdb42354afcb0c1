"""What an agent planted goes, whatever it does meanwhile, and for several attempts that end at the same moment."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from coordstore_orchestrator.git.planted import take_away

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.req("G1"), pytest.mark.security(4)]


def plant(folder: Path, count: int = 40) -> None:
    folder.mkdir()
    for number in range(count):
        (folder / f"hook{number}").write_text("#!/bin/sh\n")


def test_of_many_at_once_one_finds_it_and_none_fails(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            plant(tmp_path / "hooks")
            start = threading.Barrier(8)

            def take(_: int, start: threading.Barrier = start) -> bool:
                start.wait()
                return take_away(tmp_path / "hooks", tmp_path)

            assert sum(pool.map(take, range(8))) == 1
    assert list(tmp_path.iterdir()) == []


def test_its_maker_may_be_busy_in_it(tmp_path: Path) -> None:
    hooks, aside, stop = tmp_path / "hooks", tmp_path / "aside", threading.Event()
    aside.mkdir()

    def busy() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            try:
                hooks.mkdir(exist_ok=True)
                (hooks / f"hook{number}").write_text("#!/bin/sh\n")
            except OSError:  # it was just taken away
                continue

    maker = threading.Thread(target=busy)
    maker.start()
    try:
        for _ in range(50):
            while not take_away(hooks, aside):
                pass
    finally:
        stop.set()
        maker.join()
    take_away(hooks, aside)
    assert not hooks.exists()


def test_what_is_locked_goes_and_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    plant(victim, 1)
    locked = tmp_path / "locked"
    locked.mkdir()
    (locked / "inner").mkdir()
    (locked / "inner" / "file").write_text("x")
    (locked / "inner").chmod(0)
    locked.chmod(0o500)
    (tmp_path / "link").symlink_to(victim)
    aside = tmp_path / "aside"
    aside.mkdir()
    assert take_away(locked, aside)
    assert take_away(tmp_path / "link", aside)
    assert not take_away(tmp_path / "never", aside)
    assert list(aside.iterdir()) == []
    assert [path.name for path in victim.iterdir()] == ["hook0"]
