"""Group commit and notification by themselves, over writers and probes of the test's own."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import Conflict, StoreClosed, Unavailable
from coordstore.hostkit import Batches, Notifier, Outcome, Writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path


class Slow:
    """A writer that stands still until it is let go."""

    def __init__(self) -> None:
        self.written: list[list[int]] = []
        self.go = asyncio.Event()
        self.begun = asyncio.Event()

    async def write(self, writing: Writing[int, int]) -> list[Outcome[int]]:
        batch = writing.requests
        self.written.append(list(batch))
        self.begun.set()
        await self.go.wait()
        return [Outcome(error=Conflict("odd")) if number % 2 else Outcome(number * 10) for number in batch]


async def test_who_comes_while_a_batch_is_written_is_in_the_next() -> None:
    slow = Slow()
    batches: Batches[int, int] = Batches(slow.write)
    first = asyncio.ensure_future(batches.submit(0))
    await slow.begun.wait()
    others = [asyncio.ensure_future(batches.submit(number)) for number in (2, 3, 4, 6)]
    await asyncio.sleep(0)
    others[0].cancel()
    slow.go.set()
    assert await first == 0
    answers = await asyncio.gather(*others, return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, Conflict, int, int]
    assert slow.written == [[0], [3, 4, 6]]
    await batches.aclose()


async def test_batches_are_bounded_in_number_and_size() -> None:
    slow = Slow()
    slow.go.set()
    batches: Batches[int, int] = Batches(slow.write, most=3, size_most=100)
    await asyncio.gather(*(batches.submit(2, 1) for _ in range(7)))
    assert [len(batch) for batch in slow.written] == [3, 3, 1]
    slow.written.clear()
    await asyncio.gather(*(batches.submit(2, 60) for _ in range(4)))
    assert [len(batch) for batch in slow.written] == [2, 2]


async def test_closing_waits_for_the_sealed_batch_and_refuses_the_rest() -> None:
    slow = Slow()
    batches: Batches[int, int] = Batches(slow.write)
    sealed = asyncio.ensure_future(batches.submit(2))
    await slow.begun.wait()
    waiting = asyncio.ensure_future(batches.submit(4))
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(batches.aclose())
    with pytest.raises(StoreClosed):
        await waiting
    assert not closing.done()
    slow.go.set()
    await closing
    assert await sealed == 20
    with pytest.raises(StoreClosed):
        await batches.submit(6)
    assert slow.written == [[2]]


async def test_an_error_of_the_writer_is_everybodys_and_the_queue_goes_on() -> None:
    fail = True

    async def write(writing: Writing[int, int]) -> list[Outcome[int]]:
        if fail:
            message = "no disk"
            raise Unavailable(message)
        return [Outcome(number) for number in writing.requests]

    batches: Batches[int, int] = Batches(write)
    answers = await asyncio.gather(*(batches.submit(number) for number in range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3
    fail = False
    assert await batches.submit(7) == 7


class Greedy:
    """A writer in a thread that keeps its turn as long as there is more."""

    def __init__(self, *, fails_at: int = -1) -> None:
        self.turns: list[list[list[int]]] = []
        self.begun = asyncio.Event()
        self.fails_at = fails_at

    async def write(self, writing: Writing[int, int]) -> list[Outcome[int]]:
        self.turns.append([])
        self.begun.set()
        return await asyncio.to_thread(self._turn, writing)

    def _turn(self, writing: Writing[int, int]) -> list[Outcome[int]]:
        outcomes = self._once(writing.requests)
        while writing.more(outcomes):
            outcomes = self._once(writing.requests)
        return outcomes

    def _once(self, batch: Sequence[int]) -> list[Outcome[int]]:
        self.turns[-1].append(list(batch))
        if self.fails_at in batch:
            message = "no disk"
            raise Unavailable(message)
        return [Outcome(number * 10) for number in batch]


async def asking(batches: Batches[int, int], numbers: range) -> list[int | BaseException]:
    """Ask for one after the other, at once after the answer."""
    answers: list[int | BaseException] = []
    for number in numbers:
        try:
            answers.append(await batches.submit(number))
        except Unavailable as error:
            answers.append(error)
    return answers


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a moment be long, whatever else this machine does."""
    monkeypatch.setattr("coordstore.hostkit.batches._MOMENT", 60)


@pytest.mark.usefixtures("_patient")
async def test_who_asks_again_at_once_is_in_the_same_turn() -> None:
    greedy = Greedy()
    batches: Batches[int, int] = Batches(greedy.write)
    answers = list(await asyncio.gather(asking(batches, range(5)), asking(batches, range(100, 105))))
    assert answers == [[0, 10, 20, 30, 40], [1000, 1010, 1020, 1030, 1040]]
    # Only the second time it is known that they ask again.
    assert greedy.turns == [[[0, 100]], [[1, 101], [2, 102], [3, 103], [4, 104]]]
    assert await batches.submit(7) == 70
    assert greedy.turns[2:] == [[[7]]], "nobody asked again the last time: the turn is given back at once"
    await batches.aclose()


async def test_a_busy_loop_is_not_waited_for_and_nothing_is_lost_or_doubled() -> None:
    greedy = Greedy()
    batches: Batches[int, int] = Batches(greedy.write)
    assert await asking(batches, range(3)) == [0, 10, 20]
    batches.brisk = True
    greedy.begun.clear()
    later = asyncio.ensure_future(asking(batches, range(3, 5)))
    await greedy.begun.wait()
    # The turn is over while this thread keeps the loop: what is asked for then is in a turn of its own.
    until = time.monotonic() + 0.05
    while time.monotonic() < until:
        """The loop is busy."""
    assert await later == [30, 40]
    assert greedy.turns[-2:] == [[[3]], [[4]]]
    assert [number for turn in greedy.turns for batch in turn for number in batch] == list(range(5))


@pytest.mark.usefixtures("_patient")
async def test_an_error_is_of_the_batch_in_which_it_came() -> None:
    greedy = Greedy(fails_at=2)
    batches: Batches[int, int] = Batches(greedy.write)
    first, second = await asyncio.gather(asking(batches, range(4)), asking(batches, range(10, 14)))
    assert [type(each) for each in (*first, *second)] == [int, int, Unavailable, int] * 2
    assert (first[3], second[3]) == (30, 130)
    assert greedy.turns[1][-1] == [2, 12], "it came in a turn of several batches"


def test_a_writer_whose_loop_was_closed_has_nothing_more_to_do() -> None:
    gone = threading.Event()
    told: list[bool] = []

    def turn(writing: Writing[int, int]) -> None:
        gone.wait()
        told.append(writing.more([Outcome(1)]))

    async def leave_alone(threads: list[threading.Thread]) -> None:
        async def write(writing: Writing[int, int]) -> list[Outcome[int]]:
            threads.append(threading.Thread(target=turn, args=(writing,)))
            threads[0].start()
            begun.set()
            return await asyncio.Future()

        begun = asyncio.Event()
        batches: Batches[int, int] = Batches(write)
        batches.brisk = True
        answer = batches.submit(1)
        await begun.wait()
        answer.cancel()

    threads: list[threading.Thread] = []
    asyncio.run(leave_alone(threads))
    gone.set()
    threads[0].join()
    assert told == [False]


class Source:
    """A store's revision as a probe sees it."""

    def __init__(self, hint: Path, *, local: bool = False) -> None:
        self.revision = 0
        self.probed = asyncio.Event()
        self.error: Exception | None = None
        self.notifier = Notifier(self.probe, lambda: float("inf"), hint, local=local)

    async def probe(self) -> int:
        self.probed.set()
        if self.error is not None:
            raise self.error
        return self.revision


@pytest.fixture
async def source(tmp_path: Path) -> AsyncIterator[Source]:
    (tmp_path / "hint").touch()
    made = Source(tmp_path / "hint")
    yield made
    made.notifier.fail(StoreClosed("closed"))
    await made.notifier.aclose()


@pytest.mark.req("S6")
async def test_a_change_by_somebody_else_is_found_by_polling(source: Source) -> None:
    waiting = asyncio.ensure_future(source.notifier.above(0))
    await source.probed.wait()
    source.revision = 1
    await waiting
    await source.notifier.above(0)
    assert source.notifier.revision == 1


@pytest.mark.req("S6")
async def test_a_change_of_our_own_wakes_at_once_whoever_waits_for_it(source: Source) -> None:
    early, late = (asyncio.ensure_future(source.notifier.above(revision)) for revision in (0, 5))
    await source.probed.wait()
    source.notifier.moved(3)
    await early
    assert not late.done()
    source.notifier.moved(6)
    await late


@pytest.mark.req("S6")
async def test_a_write_to_the_hint_is_heard(source: Source, tmp_path: Path) -> None:
    waiting = asyncio.ensure_future(source.notifier.above(0))
    while not source.notifier.hints:
        source.probed.clear()
        await source.probed.wait()
        await asyncio.to_thread((tmp_path / "hint").write_bytes, b"x")
    source.revision = 1
    await waiting


@pytest.mark.req("S6")
@pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")
async def test_where_inotify_tells_of_every_commit_an_idle_watcher_polls_seldom(tmp_path: Path) -> None:
    (tmp_path / "hint").touch()
    told, untold = Source(tmp_path / "hint", local=True), Source(tmp_path / "hint")
    waiting = [asyncio.ensure_future(source.notifier.above(0)) for source in (told, untold)]
    while untold.notifier.probes < 60:
        untold.probed.clear()
        await untold.probed.wait()
    assert told.notifier.probes < 45, "a dozen until both are slow, then one for five of the other's"
    told.revision = untold.revision = 1
    await asyncio.gather(*waiting)
    for source in (told, untold):
        await source.notifier.aclose()


async def test_nobody_waits_nothing_runs(source: Source) -> None:
    waiting = asyncio.ensure_future(source.notifier.above(0))
    await source.probed.wait()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    pumps = [task for task in asyncio.all_tasks() if task.get_name() == "store-notifier"]
    await asyncio.gather(*pumps)


async def test_an_error_of_the_probe_reaches_whoever_waits_and_the_next_one_probes_anew(source: Source) -> None:
    source.error = Unavailable("gone")
    with pytest.raises(Unavailable):
        await source.notifier.above(0)
    source.error, source.revision = None, 2
    await source.notifier.above(0)
