"""The three crash campaigns can fail: bugs that are planted in the backends are found."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.crash.plants import planted
from tests.faults.crash.power import cuts
from tests.faults.crash.record import record, replay, scratch
from tests.faults.crash.scenarios import SCENARIOS
from tests.faults.crash.simulate import Failing, Simulation

if TYPE_CHECKING:
    from tests.faults.crash.record import Taped

MOST = 600
STRACE = pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
POWER = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, ("mkfs.ext4", "losetup"))),
    reason="needs root, losetup and mkfs.ext4",
)


def tape(scheme: str, name: str, plant: str = "") -> Taped:
    return record(scheme, next(each for each in SCENARIOS if each.name == name), plant)


@STRACE
@pytest.mark.req("S7")
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("scheme", "scenario", "plant"),
    [
        ("file", "put", "no fdatasync"),
        ("file", "put", "no directory sync"),
        ("file", "one large put", "no check"),
        ("file", "one large put", "zeros are a frame"),
        ("file", "compact", "no sync of a snapshot's name"),
        ("file", "homes", "no sync of homes"),
        ("sqlite", "put", "synchronous NORMAL"),
        ("sqlite", "put", "synchronous OFF"),
        ("sqlite", "put", "rollback journal"),
        ("sqlite", "put", "no directory sync at creation"),
    ],
)
def test_replayed_crash_states_find_a_planted_bug(scheme: str, scenario: str, plant: str) -> None:
    states, wrong = replay(tape(scheme, scenario, plant), MOST, 1, plant, enough=1)
    assert wrong, f"{states} states, and nothing was found"


@pytest.mark.req("S7")
@pytest.mark.timeout(240)
@pytest.mark.parametrize("plant", ["no check", "zeros are a frame", "no sync of homes"])
def test_simulated_power_cuts_find_a_planted_bug(plant: str) -> None:
    for seed in range(1, 13):
        with scratch() as folder, planted(plant):
            if Simulation(folder, seed).cut(MOST // 3, enough=1).wrong:
                return
    pytest.fail("nothing was found")


@pytest.mark.req("S7")
@pytest.mark.timeout(240)
def test_simulated_failing_calls_find_a_second_sync_that_is_trusted() -> None:
    for seed in range(1, 13):
        with scratch() as folder, planted("a second sync is trusted"):
            if Failing(folder, seed).run(60, enough=1).wrong:
                return
    pytest.fail("nothing was found")


@POWER
@pytest.mark.req("S7")
@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("scheme", "plant"), [("file", "no fdatasync"), ("sqlite", "synchronous NORMAL"), ("sqlite", "rollback journal")]
)
def test_power_cuts_find_a_planted_bug(scheme: str, plant: str) -> None:
    assert any(cut["problem"] for cut in cuts(scheme, 4, 1, plant))


@STRACE
@pytest.mark.req("S7")
@pytest.mark.timeout(120)
def test_every_mutating_system_call_went_through_the_seam() -> None:
    """Beside it are the locks, the lease table, and the two directories that opening makes before there is a store."""
    taped = tape("file", "homes", "counted")
    (counted,) = [ack.word for ack in taped.recording.acks(len(taped.recording.events)) if ack.actor == "count"]
    beside = {"store", "store/.coord", *(f"store/.coord/{name}" for name in ("lock", "upkeep", "leases"))}
    calls = [call.partition(" ") for call in taped.mutating]
    seen = Counter(call for call, _, path in calls if path not in beside or call == "fsync")
    names = {"openat": "create", "pwrite64": "write_all", "fsync": "fsync_dir", "ftruncate": "truncate"}
    assert {names.get(call, call): count for call, count in seen.items()} == {
        name: int(count) for name, _, count in (part.partition("=") for part in counted.split())
    }
