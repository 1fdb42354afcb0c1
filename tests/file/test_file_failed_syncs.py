"""After a sync that failed nothing may rest on what it was for, however late the power goes."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import OutcomeUnknown
from coordstore.hostkit import StoreLock
from coordstore.model import Put, Transaction
from coordstore_file.requests import Transact
from tests.faults.crash.bare import Bare
from tests.faults.crash.deeds import COMPACT, append, put
from tests.faults.crash.record import scratch
from tests.faults.crash.simfs import Fault, SimFS
from tests.faults.crash.workload import reboot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from coordstore.hostkit import Outcome
    from coordstore.model import Committed
    from coordstore_file.requests import Request
    from tests.faults.crash.disk import Disk


@pytest.fixture
def place() -> Iterator[Path]:
    with scratch() as folder:
        reboot(folder / "boot")
        yield folder / "store"


def after_a_reboot(place: Path, disk: Disk) -> Bare:
    reboot(place.parent / "boot")
    return Bare(place, SimFS(place, disk))


@pytest.mark.req("S7")
def test_an_old_mark_that_tells_of_a_failed_sync_costs_nothing_that_came_later(place: Path) -> None:
    fs = SimFS(place)
    with Bare(place, fs) as store:
        store.do(put("a", b"1"))
        # The write of the frame, then its sync.
        fs.fail(Fault(len(fs.calls) + 2, errno.EIO))
        with pytest.raises(OutcomeUnknown):
            store.do(put("a", b"2"))
        fs.recover()
        node = fs.recording.now.find(".coord/mark")
        assert node is not None
        old = bytes(fs.recording.now.files[node])
        for deed in (put("b", b"3"), COMPACT, put("c", b"4")):
            store.do(deed)
    disk = fs.recording.now
    disk.files[node][:] = old
    with after_a_reboot(place, disk) as store:
        assert store.contents().keys == {"a": b"1", "b": b"3", "c": b"4"}


@pytest.mark.req("S7")
def test_compaction_trusts_no_second_sync_of_a_home(place: Path) -> None:
    fs = SimFS(place)
    with Bare(place, fs) as store:
        store.do(append("s", b"one"))
        home = fs.recording.now.find("s/@000000000001.jsonl")
        fs.fail(Fault(error=errno.EIO, only=f"fdatasync {home}"))
        with pytest.raises(OSError, match=r"\[Errno 5\]"):
            store.do(COMPACT)
        fs.recover()
        store.do(COMPACT)
    end = len(fs.recording.events)
    _, pending = fs.recording.pending(end)
    with after_a_reboot(place, fs.recording.state(end, pending).disk) as store:
        assert store.contents().streams == {"s": ((1, b"one"),)}


class Eager:
    """A batch behind which there is always another one."""

    def __init__(self, *wanted: Request) -> None:
        self.requests = wanted
        self.asked = 0

    def more(self, outcomes: list[Outcome[Committed]]) -> bool:
        self.asked += 1
        return self.asked < 3 and bool(outcomes)


@pytest.mark.req("S7")
@pytest.mark.parametrize("broken", [False, True])
def test_a_turn_at_the_lock_ends_with_a_failure(place: Path, monkeypatch: pytest.MonkeyPatch, broken: bool) -> None:
    """What the mark tells others now is not known here: the next batch reads it under the lock."""
    monkeypatch.setattr(StoreLock, "crowded", property(lambda _: True, lambda _, __: None), raising=False)
    fs = SimFS(place)
    with Bare(place, fs) as store:
        store.do(put("a", b"1"))
        if broken:
            fs.fail(Fault(len(fs.calls) + 2, errno.EIO))
        eager = Eager(Transact(Transaction((Put("a", b"2"),))))
        (last,) = store.write_all(eager)
        assert (type(last.error), eager.asked) == ((OutcomeUnknown, 0) if broken else (type(None), 3))
        fs.recover()


def test_a_fault_that_was_planned_strikes(place: Path) -> None:
    fs = SimFS(place, fault=Fault(1, errno.ENOSPC))
    with pytest.raises(OSError, match=r"\[Errno 28\]"), contextlib.ExitStack() as stack:
        stack.enter_context(Bare(place, fs))
    assert fs.struck
