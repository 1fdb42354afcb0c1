"""Power cuts and failing calls on the simulated file system: a workload by chance, then every state it can leave.

Each workload is run once; the power goes at every call of it, and what may be left is opened by the same code on a
new simulated disk. Of some states the recovery is itself recorded, and the power goes again in the midst of it. With
a fault planned, callers keep a book of what they were told; the power goes at the end, and the book is compared.
"""

from __future__ import annotations

import errno
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from coordstore.errors import CoordError, OutcomeUnknown, Unavailable
from tests.faults.crash.bare import Bare
from tests.faults.crash.deeds import Contents, Deed, Ledger, any_deed
from tests.faults.crash.simfs import Fault, SimFS
from tests.faults.crash.workload import reboot

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.faults.crash.disk import Disk, Recording

DEEDS = 7
"""Deeds of a workload; its states grow with the square of that."""
AGAIN = 25
"""Of so many states one is crashed again while it is being recovered."""


@dataclass
class Tally:
    """What was tried, what was distinct, what was wrong."""

    states: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class After:
    """What a store showed after a crash, and what opening it did to the disk."""

    store_id: str
    contents: Contents
    recording: Recording


def legal(deeds: Sequence[Deed]) -> list[Contents]:
    """Return what a store should hold after none, one, two … of some deeds."""
    ledger = Ledger()
    found = [ledger.shown()]
    for deed in deeds:
        ledger.do(deed)
        found.append(ledger.shown())
    return found


def workload(seed: int) -> list[Deed]:
    """Return the deeds of a seed."""
    chance = random.Random(seed)
    deeds = [any_deed(chance, number) for number in range(DEEDS)]
    lease = [Deed("grant", "L", number=9), Deed("lease_put", "a", b"mine", lease="L"), Deed("expire", number=20)]
    return deeds[:3] + lease + deeds[3:] if seed % 3 == 0 else deeds


class Simulation:
    """Crashes one workload.

    Args:
        folder: A directory for the files outside of the seam.
        seed: Chooses the workload, and what is lost.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._path = folder / "store"
        self._boot = folder / "boot"
        self._seed = seed
        self._chance = random.Random(seed)
        self._seen: dict[bytes, After | str] = {}
        self.tally = Tally()

    def cut(self, most: int, enough: int = 20) -> Tally:
        """Run the workload, cut the power at each call, and judge distinct states up to a number or enough bad ones."""
        deeds = workload(self._seed)
        recording = self._run(deeds)
        wanted = legal(deeds)
        for point, lost in recording.cases(self._chance):
            if self.tally.states >= most or len(self.tally.wrong) >= enough:
                break
            done = max((ack.deeds for ack in recording.acks(point)), default=0)
            identity = {ack.word for ack in recording.acks(point) if ack.word}
            state = recording.state(point, lost)
            where = f"seed {self._seed}, after event {point}, lost {sorted(lost)}"
            self._judge(state.disk, wanted[done : done + 2], identity, where)
        return self.tally

    def _run(self, deeds: Sequence[Deed]) -> Recording:
        reboot(self._boot)
        fs = SimFS(self._path)
        with Bare(self._path, fs) as store:
            fs.ack(0, store.store_id)
            for number, deed in enumerate(deeds, 1):
                store.do(deed)
                fs.ack(number)
        return fs.recording

    def _judge(self, disk: Disk, wanted: Sequence[Contents], identity: set[str], where: str, depth: int = 0) -> None:
        digest = disk.digest()
        fresh = digest not in self._seen
        if fresh:
            self.tally.states += 1
            self._seen[digest] = self._reopened(disk)
        after = self._seen[digest]
        if isinstance(after, str):
            self.tally.wrong.append(f"{where}: {after}")
        elif after.contents not in wanted:
            told = " or ".join(each.told() for each in wanted)
            self.tally.wrong.append(f"{where}: {told}, not {after.contents.told()}")
        elif identity - {after.store_id}:
            self.tally.wrong.append(f"{where}: the store has another identity now")
        elif fresh and not depth and self._chance.randrange(AGAIN) == 0:
            self._crash_recovery(after, where)

    def _crash_recovery(self, after: After, where: str) -> None:
        """Cut the power again while the store was being recovered."""
        recording = after.recording
        for point, lost in recording.cases(self._chance)[:AGAIN]:
            again = recording.state(point, lost)
            self._judge(
                again.disk, [after.contents], set(), f"{where}, then after event {point}, lost {sorted(lost)}", 1
            )

    def _reopened(self, disk: Disk) -> After | str:
        reboot(self._boot)
        fs = SimFS(self._path, disk)
        try:
            with Bare(self._path, fs) as store:
                seen = store.contents()
                recording = fs.recording
                fs.recording = type(recording)(recording.now)
                store.do(Deed("put", "after", b"works"))
                store.do(Deed("append", "after", appends=(("after", b"works"),)))
                works = store.contents()
        except (CoordError, OSError, Exception) as error:  # noqa: BLE001  (whatever it is, the store does not work)
            return f"{type(error).__name__}: {error}"
        if works.keys.pop("after", None) != b"works" or works.streams.pop("after", ()) != ((1, b"works"),):
            return "what was written after the crash is not there"
        works.heads.pop("after", None)
        return After(store.store_id, seen, recording) if works == seen else "writing changed what was there"


# --- failing calls ----------------------------------------------------------------------------------------------------


Book = list[tuple[int, list[Contents]]]
"""What the store may hold when the power goes after so many events."""
HEALED = (Deed("put", "healed", b"yes"), Deed("compact"), Deed("put", "after", b"all"))
"""What is done once nothing fails any more: compaction moves what it finds, so nothing may rest on a failed sync."""
FAULTS = ((errno.EIO, False), (errno.EIO, True), (errno.ENOSPC, False), (errno.ENOSPC, True))


class Failing:
    """Runs one workload with each call failing, and cuts the power at the end.

    Args:
        folder: A directory for the files outside of the seam.
        seed: Chooses the workload, and what is lost.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self._path = folder / "store"
        self._boot = folder / "boot"
        self._deeds = workload(seed)
        self._seed = seed
        self._chance = random.Random(seed)
        self.tally = Tally()

    def run(self, most: int, enough: int = 20) -> Tally:
        """Let calls fail one after the other, in each way, up to a number of trials, or enough bad ones."""
        plain = SimFS(self._path)
        self._told(plain)
        cases = [(at, *how) for at in range(1, len(plain.calls) + 1) for how in FAULTS]
        self._chance.shuffle(cases)
        for at, error, for_ever in cases[:most]:
            if len(self.tally.wrong) >= enough:
                break
            fault = Fault(at, error, for_ever)
            fs = SimFS(self._path, fault=fault)
            book = self._told(fs)
            self.tally.states += 1
            if problem := self._cut(fs, book):
                what = fs.calls[at - 1] if at <= len(fs.calls) else "not reached"
                self.tally.wrong.append(f"seed {self._seed}, {fault}: {what}: {problem}")
        return self.tally

    def _cut(self, fs: SimFS, book: Book) -> str:
        """Cut the power at each point of the book; return the first thing that is wrong."""
        for point, may_be in book:
            for lost in self._losses(fs.recording, point):
                if problem := self._compare(fs.recording.state(point, lost).disk, may_be):
                    return f"after event {point}, lost {sorted(lost)}: {problem}"
        return ""

    def _losses(self, recording: Recording, point: int) -> list[frozenset[int]]:
        found = list(recording.losses(point, self._chance))
        return found[:2] + self._chance.sample(found[2:], min(2, len(found) - 2)) if len(found) > 2 else found

    def _told(self, fs: SimFS) -> Book:
        """Do the deeds while calls fail; return what the store may hold from some points on, as callers were told."""
        reboot(self._boot)
        may_be = [Ledger()]
        book: Book = []
        try:
            with Bare(self._path, fs) as store:
                for deed in self._deeds:
                    may_be = self._one(store, deed, may_be)
                fs.recover()
                for deed in HEALED:
                    store.do(deed)
                    for ledger in may_be:
                        ledger.do(deed)
                    book.append((len(fs.recording.events), [ledger.shown() for ledger in may_be]))
        except (CoordError, OSError):
            # Opening failed: nobody was told of anything.
            if not fs.struck or len(may_be) > 1 or may_be[0] != Ledger():
                raise
        return book or [(len(fs.recording.events), [Contents({}, {}, {})])]

    def _one(self, store: Bare, deed: Deed, may_be: list[Ledger]) -> list[Ledger]:
        """Do one deed; the ledgers are those that may be true after what the caller was told."""
        import copy

        done = copy.deepcopy(may_be)
        for ledger in done:
            ledger.do(deed)
        try:
            store.do(deed)
        except OutcomeUnknown:
            return may_be + done
        except Unavailable:
            return may_be
        except OSError:
            # The tree or a compaction, after the commit: upkeep logs it and tries again.
            return done
        except CoordError:
            return may_be
        return done

    def _compare(self, disk: Disk, may_be: Sequence[Contents]) -> str:
        reboot(self._boot)
        try:
            with Bare(self._path, SimFS(self._path, disk)) as store:
                seen = store.contents()
                store.do(Deed("put", "later", b"works"))
        except (CoordError, OSError, Exception) as error:  # noqa: BLE001  (whatever it is, the store does not work)
            return f"{type(error).__name__}: {error}"
        if seen in may_be:
            return ""
        return f"{' or '.join(each.told() for each in may_be[:3])}, not {seen.told()}"
