"""Run random histories against a store and judge them: ``python -m coordstore.testing.history --url …``.

Each run is on a store of its own: ``{dir}`` in the URL is a new empty folder, ``{run}`` the run's seed. With
several processes, and with kills, the clients live in processes of their own that write their files; the one that
was started watches, reads everything at the end, merges the files and judges.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import pkgutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from coordstore.errors import CoordError, InvalidArgument
from coordstore.testing.history.history import History
from coordstore.testing.history.observing import final_phase, observing
from coordstore.testing.history.record import Recorder, load
from coordstore.testing.history.report import check
from coordstore.testing.history.tier_b import Bounds
from coordstore.testing.history.workload import Shape, work

if TYPE_CHECKING:
    import random
    from collections.abc import AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from coordstore.store import CoordStore
    from coordstore.testing.history.record import Operation
    from coordstore.testing.history.report import Verdict

    Opener = Callable[[str], AbstractAsyncContextManager[CoordStore]]

COLUMNS = ("seed", "ok", "failed", "unknown", "op/s", "revisions", "searches", "slowest s", "judged s", "verdict")


def parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(prog="python -m coordstore.testing.history", description=__doc__)
    parser.add_argument("--url", required=True, help="the store; {dir}: a new folder per run, {run}: the seed")
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--operations", type=int, default=2000, help="of all clients together, per run")
    parser.add_argument("--clients", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0, help="of the first run; each further one takes the next")
    parser.add_argument("--processes", type=int, default=1, help="over which the clients are spread")
    parser.add_argument("--handles", type=int, default=2, help="handles on the store in each process")
    parser.add_argument("--kills", type=int, default=0, help="how often each process is killed, and another goes on")
    parser.add_argument("--least", type=float, default=0.0, help="operations per second below which a run is void")
    parser.add_argument("--seconds", type=float, default=30.0, help="for one search of tier B")
    parser.add_argument("--keep", type=Path, help="folder for the histories of runs that failed")
    parser.add_argument("--opener", default="coordstore:open_store", help="module:function that opens a URL")
    parser.add_argument("--record", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--place", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.runs > 1 and not any(mark in options.url for mark in ("{dir}", "{run}")):
        parser.error("several runs need a store each: put {dir} or {run} into the URL")
    return options


def shape_of(options: argparse.Namespace, seed: int) -> Shape:
    """Return the workload that the options describe."""
    process, life = options.place or (0, 0)
    return Shape(
        seed=seed,
        clients=options.clients,
        operations=options.operations,
        processes=options.processes,
        lives=options.kills + 1,
        process=process,
        life=life,
    )


@contextlib.asynccontextmanager
async def opened(options: argparse.Namespace, url: str) -> AsyncIterator[list[CoordStore]]:
    """Open the handles of one process."""
    opener: Opener = pkgutil.resolve_name(options.opener)
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(opener(url)) for _ in range(options.handles)]


async def live(options: argparse.Namespace, url: str) -> None:
    """Be one of several processes: do a share of the operations, and die in the middle if that is the plan."""
    shape = shape_of(options, options.seed)
    dies = shape.random(f"death {options.place}").choice(shape.share) if shape.life + 1 < shape.lives else None
    done = shape.share.start

    async def hook(_: random.Random) -> None:
        nonlocal done
        done += 1
        if done == dies:
            os.kill(os.getpid(), signal.SIGKILL)
        await asyncio.sleep(0)

    with Recorder(options.record) as recorder:
        async with opened(options, url) as stores:
            await work(stores, recorder, shape, hook)


async def lives(options: argparse.Namespace, url: str, folder: Path, process: int) -> None:
    """Start the processes of one place, one after the other."""
    for life in range(options.kills + 1):
        argv = [sys.executable, "-m", "coordstore.testing.history", "--url", url, "--seed", str(options.seed)]
        argv += ["--operations", str(options.operations), "--clients", str(options.clients), "--opener", options.opener]
        argv += [
            "--processes",
            str(options.processes),
            "--handles",
            str(options.handles),
            "--kills",
            str(options.kills),
        ]
        argv += ["--place", str(process), str(life), "--record", str(folder / f"{process}-{life}.jsonl")]
        child = await asyncio.create_subprocess_exec(*argv)
        if await child.wait() not in (0, -signal.SIGKILL):
            message = f"a process of the run ended with {child.returncode}; what it wrote to stderr says why"
            raise CoordError(message)


async def one(options: argparse.Namespace, url: str, folder: Path) -> tuple[list[Operation], float]:
    """Do one run; return what this process recorded and how many seconds the work took."""
    shape = shape_of(options, options.seed)
    apart = options.processes > 1 or options.kills
    with Recorder() as recorder:
        recorder.note(**asdict(shape))
        async with opened(options, url) as stores, observing(stores, recorder, shape):
            began = time.monotonic()
            if apart:
                await asyncio.gather(*(lives(options, url, folder, place) for place in range(options.processes)))
            else:
                await work(stores, recorder, shape)
            took = time.monotonic() - began
            await final_phase(stores[0], recorder, shape)
    return recorder.operations, took


def judged(options: argparse.Namespace, history: History, took: float) -> tuple[Verdict, list[object]]:
    """Return the verdict on a run and its line in the table."""
    began = time.monotonic()
    rate = len(history.calls) / took
    if rate < options.least:
        history.void.append(f"{rate:.0f} operations per second, {options.least:.0f} are the least")
    verdict = check(history, Bounds(seconds=options.seconds))
    counts = [verdict.counts[name] for name in ("ok", "failed", "unknown")]
    more = [round(rate), *(verdict.counts[name] for name in ("revisions", "searches", "slowest_s"))]
    word = "ok" if verdict.ok else "VIOLATED" if verdict.violations else "VOID"
    return verdict, [options.seed, *counts, *more, round(time.monotonic() - began, 2), word]


def run_all(options: argparse.Namespace) -> int:
    """Do all runs, print the table, return how many failed."""
    say(line(COLUMNS))
    failed = []
    for seed in range(options.seed, options.seed + options.runs):
        this = argparse.Namespace(**{**vars(options), "seed": seed})
        with tempfile.TemporaryDirectory(prefix="history-") as name:
            folder = Path(name)
            (folder / "store").mkdir()
            url = options.url.replace("{dir}", str(folder / "store")).replace("{run}", str(seed))
            operations, took = asyncio.run(one(this, url, folder))
            operations += load(sorted(folder.glob("*.jsonl")))
        history = History(operations, minimum=options.operations // 2)
        verdict, row = judged(this, history, took)
        say(line(row))
        if not verdict:
            failed.append(seed)
            say(str(verdict))
            keep(options, history, seed)
    say(f"{options.runs} runs, {len(failed)} failed{': seeds ' + str(failed) if failed else ''}")
    return len(failed)


def keep(options: argparse.Namespace, history: History, seed: int) -> None:
    """Write the history of a run that failed, if that is wanted."""
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
        path = options.keep / f"history-{seed}.jsonl"
        path.write_text("".join(each.line() for each in history.operations), encoding="utf-8")
        say(f"kept as {path}")


def line(cells: Sequence[object]) -> str:
    """Return a line of the table."""
    return "  ".join(f"{cell!s:>9}" for cell in cells)


def say(text: str) -> None:
    """Print."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return the exit status."""
    options = parsed(argv)
    if options.place is not None:
        asyncio.run(live(options, options.url))
        return 0
    if options.runs < 1:
        message = "--runs: at least one"
        raise InvalidArgument(message)
    return 1 if run_all(options) else 0


if __name__ == "__main__":
    sys.exit(main())
