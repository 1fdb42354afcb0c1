"""Who waits for a lock comes next, however soon its holder takes the lock again; processes have it in their order."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Unavailable
from coordstore.hostkit import Outcome, StoreLock, in_turn
from coordstore.hostkit.lockfile import LockedFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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


class Endless:
    """Work that is never done; each batch is a number."""

    def __init__(self, most: int = 10**9) -> None:
        self.requests = [0]
        self.answered: list[int] = []
        self._most = most

    def more(self, outcomes: list[Outcome[int]]) -> bool:
        self.answered += [outcome.result for outcome in outcomes if outcome.result is not None]
        self.requests = [self.requests[0] + 1]
        return self.requests[0] < self._most


def write(requests: Sequence[int], again: bool) -> list[Outcome[int]]:
    """Answer with the number; it is the first one unless nobody else can have written."""
    assert again == (requests != [0])
    return [Outcome(number) for number in requests]


def have(file: LockedFile, meanwhile: Callable[[], None]) -> None:
    """Have a lock for a moment, and do something while waiting for it."""
    with file.held(None, meanwhile):
        """That is all."""


def turn_in_line(path: Path, work: Endless, *, fit: bool = True) -> list[Outcome[int]]:
    """Have a turn for which one had to stand in line."""
    first, second = StoreLock(path, 60), StoreLock(path, 60)
    with ThreadPoolExecutor(1) as pool, first.held():
        had = pool.submit(in_turn, second, work, write, fit=lambda: fit)
        until_standing(path, 1)
        contextlib.ExitStack().callback(first.close)
    with first.held(5):
        """It was given back."""
    second.close()
    first.close()
    return had.result()


@pytest.mark.req("S13")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's line is Linux's, and read in /proc")
def test_who_stood_in_line_writes_more_than_one_batch_but_not_for_ever(tmp_path: Path) -> None:
    few, many = Endless(3), Endless()
    assert turn_in_line(tmp_path / "lock", few)[0].result == 2
    assert few.answered == [0, 1, 2]
    last = turn_in_line(tmp_path / "lock", many)[0].result
    assert last == len(many.answered), "the last batch is answered by who called"
    assert last


@pytest.mark.req("S13")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's line is Linux's, and read in /proc")
def test_a_writer_that_is_not_fit_gives_the_lock_back(tmp_path: Path) -> None:
    work = Endless()
    assert turn_in_line(tmp_path / "lock", work, fit=False)[0].result == 0
    assert work.answered == []


@pytest.mark.req("S13")
def test_whoever_had_the_lock_at_once_gives_it_back_after_one_batch(tmp_path: Path) -> None:
    lock, work = StoreLock(tmp_path / "lock", 60), Endless()
    assert in_turn(lock, work, write)[0].result == 0
    assert work.answered == []
    lock.close()


@pytest.mark.req("S13")
@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's line is Linux's, and read in /proc")
def test_something_is_done_while_standing_in_line_and_its_failure_leaves_the_line(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    first, second = LockedFile(path, 60), LockedFile(path, 60)
    done = threading.Event()

    def fail() -> None:
        message = "not now"
        raise ValueError(message)

    with ThreadPoolExecutor(1) as pool:
        with first.held():
            turn = pool.submit(have, second, done.set)
            assert done.wait(10)
        turn.result()
        second.close()
        with first.held():
            third = LockedFile(path, 60)
            with pytest.raises(ValueError, match="not now"):
                pool.submit(have, third, fail).result()
        with first.held(5):
            """Nobody else has it."""
    for file in (first, third):
        file.close()
