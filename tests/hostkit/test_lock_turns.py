"""Who waits for a lock comes next, however soon its holder takes the lock again; processes have it in their order."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from coordstore.errors import Unavailable
from coordstore.hostkit.lockfile import LockedFile

ONE_TURN = """
import sys
from pathlib import Path
from coordstore.hostkit.lockfile import LockedFile
with LockedFile(Path(sys.argv[1]), 60).held(), Path(sys.argv[2]).open("a") as order:
    order.write(sys.argv[3])
"""
MANY = 6


def standing(path: Path) -> int:
    """Return how many stand in the kernel's line for a file."""
    inode = f":{path.stat().st_ino} "
    return sum(inode in line and "->" in line for line in Path("/proc/locks").read_text().splitlines())


def until_standing(path: Path, count: int) -> None:
    """Wait until so many stand in line."""
    while standing(path) != count:
        """The test's own time limit ends this."""


@pytest.mark.req("S13")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's line is Linux's, and read in /proc")
def test_processes_have_the_lock_in_the_order_in_which_they_came(tmp_path: Path) -> None:
    path, order = tmp_path / "lock", tmp_path / "order"
    file, children = LockedFile(path, 60), []
    with file.held():
        for number in range(MANY):
            children.append(subprocess.Popen([sys.executable, "-c", ONE_TURN, path, order, str(number)]))
            until_standing(path, number + 1)
    for child in children:
        assert child.wait() == 0
    assert order.read_text() == "".join(map(str, range(MANY)))
    file.close()


@pytest.mark.req("S13")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's line is Linux's, and read in /proc")
def test_who_gives_up_in_line_takes_nothing_and_finds_his_place_again(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    holder, other, third = (LockedFile(path, 0.05) for _ in range(3))
    back = contextlib.ExitStack()
    with holder.held():
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"was held for 0\.05 s"), other.held():
                pytest.fail("two hold it")
            # One thread stands there, not one for each time.
            until_standing(path, 1)
    until_standing(path, 0)
    with third.held(60):
        with pytest.raises(Unavailable), other.held():
            pytest.fail("two hold it")
        waiting = threading.Thread(target=lambda: back.enter_context(other.held(60)))
        waiting.start()
        until_standing(path, 1)
    waiting.join()
    with pytest.raises(Unavailable), holder.held():
        pytest.fail("who came back to his place holds it")
    back.close()
    for file in (holder, other, third):
        file.close()


@pytest.mark.req("S13")
def test_a_lock_had_in_line_ends_with_the_process_that_forked(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = LockedFile(path, 60), LockedFile(path, 60)
    had = threading.Event()

    def turn() -> None:
        with second.held():
            had.set()

    with first.held():
        waiter = threading.Thread(target=turn)
        waiter.start()
        if sys.platform == "linux":
            until_standing(path, 1)
        reader, writer = os.pipe()
        child = os.fork()
        if not child:
            os.read(reader, 1)
            os._exit(0)
    waiter.join()
    assert had.is_set()
    with first.held(1):
        """The child has none of its files open."""
    os.write(writer, b".")
    os.waitpid(child, 0)
    for descriptor in (reader, writer):
        os.close(descriptor)
    first.close()
    second.close()


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
