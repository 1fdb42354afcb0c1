"""Every I/O call of a store fails, once or from there on, or writes less than it was asked to.

A trial is one life that does everything a store can be asked to, while one call fails: with EIO or ENOSPC, once or
for ever, or with EINTR; or while files cannot grow beyond a size, so that writes are really short. Then each deed must
have ended as it may (done, certainly not done, in doubt), and the store, opened without the fault, must hold what was
acknowledged and nothing that was refused, and work on. A sync that failed is no success, and is not tried again.
"""

from __future__ import annotations

import asyncio
import random
import re
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.faults.aftermath import aftermath
from tests.faults.campaign import Campaign, Outcome
from tests.faults.deeds import DEEDS
from tests.faults.stage import BACKENDS, folder, url_in
from tests.faults.tracing import calls, traced

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.faults.tracing import Trial

AT_ONCE: Final = 3
INTERRUPTED: Final = frozenset(("openat", "pwrite64", "write", "ftruncate"))
"""Calls that a signal may really interrupt on a local disk."""
WORDS: Final = frozenset(("ok", "refused", "unknown"))
STEP: Final = 50
"""Bytes between two sizes that files cannot outgrow."""
DIRECTORY: Final = re.compile(r".*/faults-[^/]*")
_SAID: Final = re.compile(r'sendto\(.*?"(begin|end) (\d+)(?: (\w+))?"')
_SYNC: Final = re.compile(r"\b(fsync|fdatasync)\(\d+<([^>]*)>")


class Fault(NamedTuple):
    """What goes wrong: a call, which one, and how; or, with a limit, that files do not grow beyond it."""

    call: str = ""
    number: int = 0
    error: str = ""
    for_ever: bool = False
    limit: int = 0

    def options(self) -> list[str]:
        """Return what strace is to do."""
        when = f"{self.number}{'+' if self.for_ever else ''}"
        return [] if self.limit else ["-e", f"inject={self.call}:error={self.error}:when={when}"]

    def __str__(self) -> str:
        """Say it."""
        if self.limit:
            return f"no file above {self.limit} bytes"
        return f"{self.call} {self.number} {self.error} {'for ever' if self.for_ever else 'once'}"


def faults(backend: str) -> list[Fault]:
    """Return everything that can go wrong in a life."""
    found = []
    with folder() as where:
        for call in calls(backend, where):
            for error in ("EIO", "ENOSPC"):
                found += [Fault(call.name, call.number, error, for_ever) for for_ever in (False, True)]
            if call.name in INTERRUPTED:
                found.append(Fault(call.name, call.number, "EINTR"))
        sizes = [path.stat().st_size for path in where.rglob("*") if path.is_file() and path.name != "trace"]
    return found + [Fault(limit=limit) for limit in range(STEP, max(sizes), max(STEP, max(sizes) // 200))]


def failed(backend: str, plant: str, fault: Fault) -> str | None:
    """Live with a fault; return what is wrong, None when the call was not reached."""
    with folder() as where:
        trial = traced(backend, where, *fault.options(), limit=fault.limit, plant=plant, watch="sendto")
        if not (trial.injected or fault.limit):
            return None
        wrong = asyncio.run(aftermath(url_in(backend, where), trial))
    odd = {word for word in trial.outcomes.values() if word not in WORDS}
    if odd or not trial.closed:
        wrong.append(f"it {'ended well' if trial.closed else 'broke off'}, deeds with {odd or 'what they may'}")
    wrong += syncs(backend, trial)
    if not fault.for_ever and not fault.limit:
        lasting = {DEEDS[number].group for number, word in trial.outcomes.items() if word != "ok"}
        if len(lasting) > 1:
            wrong.append(f"the fault passed, and deeds on {lasting} failed")
    return f"{fault}: {'; '.join(wrong)}" if wrong else ""


def syncs(backend: str, trial: Trial) -> list[str]:
    """Return the syncs that failed and were taken for a success, or tried again on the same file by the same deed."""
    deed, bad, wrong = -1, "", []
    for text in trial.trace:
        if said := _SAID.search(text):
            if said[1] == "end" and bad and said[3] == "ok":
                wrong.append(f"deed {deed} is done although {bad} was not synced")
            deed, bad = int(said[2]), ""
        elif sync := _SYNC.search(text):
            if "(INJECTED)" in text:
                bad = sync[2] if deed >= 0 and not _is_others(backend, deed, sync[2]) else ""
            elif bad and sync[2] == bad:
                wrong.append(f"deed {deed} synced {bad} a second time")
    return wrong


def _is_others(backend: str, deed: int, path: str) -> bool:
    """Tell whether a sync is not the deed's own: what is acknowledged does not rest on it."""
    if backend == "sqlite":
        # SQLite itself takes no notice when the directory of its log cannot be synced.
        return DIRECTORY.fullmatch(path) is not None
    # Upkeep compacts meanwhile, on the same thread here, and syncs the tree; the deeds are in the log under .coord.
    return "/.coord" not in path and DEEDS[deed].name != "compact"


def on(backend: str, trials: int, seed: int, plant: str = "") -> Outcome:
    """Make so many faults on a backend."""
    points = faults(backend)
    total = len(points)
    if trials < total:
        points = random.Random(seed).sample(points, trials)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [each for each in pool.map(partial(failed, backend, plant), points) if each is not None]
    return Outcome(backend, len(found), tuple(filter(None, found)), f"of {total:,} faults")


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Make so many faults on each backend."""
    for backend in BACKENDS:
        yield on(backend, trials, seed)


CAMPAIGN = Campaign(
    "io_errors",
    "Whatever I/O call fails, each outcome is told as it is, nothing acknowledged is lost, and the store works on.",
    run,
    full=1_000,
    part=12,
    needs=("linux", "strace"),
)
