"""Random histories of many clients in processes that are killed, judged by the shipped checker in all its parts.

A trial is a run of 10,000 operations (of 1,000 where there are few trials): 16 clients in four processes, each killed
once and replaced, with watches and follows from the first revision on. A run below 100 operations a second, or in
which a search found no answer in time, says nothing and is a failure.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.testing.history import History, Recorder, final_phase, load, observing
from coordstore.testing.history.__main__ import judged, live, opened, parsed, shape_of
from tests.faults.campaign import Campaign, Outcome
from tests.faults.stage import BACKENDS, Actor, folder, url_in

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.stage import Line

PROCESSES: Final = 4
KILLS: Final = 1
AT_ONCE: Final = 2
"""Runs at the same time."""
FEW: Final = 10
OPENER: Final = "coordstore:open_store"


class Run(NamedTuple):
    """One run: the options that the shipped command takes, and where."""

    backend: str
    seed: int
    operations: int
    opener: str = OPENER

    def argv(self, where: Path) -> list[str]:
        """Return the options."""
        return [
            *("--url", url_in(self.backend, where), "--seed", str(self.seed), "--operations", str(self.operations)),
            *("--processes", str(PROCESSES), "--kills", str(KILLS), "--least", "100", "--opener", self.opener),
        ]


async def lived(line: Line, argv: list[str]) -> None:
    """Be one of the processes, until its share is done or it kills itself."""
    options = parsed(argv)
    await live(options, options.url)
    line.say("done")


async def observed(line: Line, argv: list[str], where: str) -> None:
    """Watch while others work, read everything at the end, judge."""
    options = parsed(argv)
    shape = shape_of(options, options.seed)
    with Recorder() as recorder:
        recorder.note(**shape_facts(options.seed, options.operations))
        async with opened(options, options.url) as stores, observing(stores, recorder, shape):
            line.say("ready")
            took = float((await line.heard() or ["inf"])[0])
            await final_phase(stores[0], recorder, shape)
    operations = recorder.operations + load(sorted(Path(where).glob("*.jsonl")))
    verdict, row = judged(options, History(operations, minimum=options.operations // 2), took)
    line.say(len(operations), row[4], row[7], " ".join(str(verdict).split())[:2000] if not verdict else "")


def shape_facts(seed: int, operations: int) -> dict[str, int]:
    """Return what makes the run happen again."""
    return {"seed": seed, "operations": operations, "processes": PROCESSES, "kills": KILLS}


def life_after_life(argv: list[str], where: Path, place: int) -> None:
    """Let the processes of one place follow one another."""
    for life in range(KILLS + 1):
        record = ["--place", str(place), str(life), "--record", str(where / f"{place}-{life}.jsonl")]
        with Actor(lived, [*argv, *record]) as one:
            complaints = [words for words in one.rest() if words != ["done"]]
            if complaints:
                raise RuntimeError(str(complaints))


def performed(run: Run) -> tuple[str, float, float]:
    """Do one run; return what is wrong with it, its operations a second, and the longest search in seconds."""
    with folder() as where:
        argv = run.argv(where)
        with Actor(observed, argv, str(where)) as observer, ThreadPoolExecutor(PROCESSES) as pool:
            observer.words()
            began = time.monotonic()
            list(pool.map(partial(life_after_life, argv, where), range(PROCESSES)))
            observer.line.say(time.monotonic() - began)
            _, rate, slowest, *wrong = observer.words()
    return (f"seed {run.seed}: {' '.join(wrong)}" if wrong else ""), float(rate), float(slowest)


def on(backend: str, trials: int, seed: int, opener: str = OPENER) -> Outcome:
    """Make so many runs on a backend."""
    operations = 10_000 if trials > FEW else 1_000
    runs = [Run(backend, seed * 1000 + number, operations, opener) for number in range(trials)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        done = list(pool.map(performed, runs))
    rate, slowest = min(rate for _, rate, _ in done), max(slowest for _, _, slowest in done)
    note = f"{operations:,} operations each, {rate:,.0f}/s at least, longest search {slowest:.2f} s"
    return Outcome(backend, trials, tuple(wrong for wrong, _, _ in done if wrong), note)


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many runs on each backend."""
    for backend in BACKENDS:
        yield on(backend, trials, seed)


CAMPAIGN = Campaign(
    "histories",
    "What 16 clients in killed processes saw is linearizable in both tiers; streams, leases and watches hold.",
    run,
    full=100,
    part=2,
    needs=("linux",),
)
