"""After a sync that failed nothing may rest on what it was for, however late the power goes."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import OutcomeUnknown
from tests.faults.crash.bare import Bare
from tests.faults.crash.deeds import COMPACT, append, put
from tests.faults.crash.record import scratch
from tests.faults.crash.simfs import Fault, SimFS
from tests.faults.crash.workload import reboot

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


def test_a_fault_that_was_planned_strikes(place: Path) -> None:
    fs = SimFS(place, fault=Fault(1, errno.ENOSPC))
    with pytest.raises(OSError, match=r"\[Errno 28\]"), contextlib.ExitStack() as stack:
        stack.enter_context(Bare(place, fs))
    assert fs.struck
