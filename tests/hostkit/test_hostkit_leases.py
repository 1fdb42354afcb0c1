"""The lease side file by itself, on a virtual clock."""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

import pytest

from coordstore.errors import LeaseLost
from coordstore.hostkit import LeaseFile

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.req("S9")
STORE = secrets.token_hex(16)


class Clock:
    """A clock set by hand; these tests block, so they run on no loop."""

    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    async def sleep(self, seconds: float) -> None:
        raise NotImplementedError

    def advance(self, seconds: float) -> None:
        self.time += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_leases(tmp_path: Path, clock: Clock) -> Iterator[Callable[..., LeaseFile]]:
    made: list[LeaseFile] = []

    def opened(store_id: str = STORE) -> LeaseFile:
        made.append(LeaseFile(tmp_path / "leases", store_id, clock))
        return made[-1]

    yield opened
    for one in made:
        one.close()


@pytest.fixture
def leases(open_leases: Callable[..., LeaseFile]) -> LeaseFile:
    made = open_leases()
    made.settle()
    return made


def test_next_due_is_never_late(leases: LeaseFile, clock: Clock) -> None:
    assert leases.next_due() == float("inf")
    late, soon = leases.grant(100), leases.grant(10)
    assert leases.next_due() == pytest.approx(1010)
    clock.advance(5)
    leases.renew(soon)
    assert leases.next_due() <= 1015
    leases.settle()
    assert leases.next_due() == pytest.approx(1015)
    assert leases.mark_due((soon, late), revoked=(soon,)) == [soon]
    assert leases.next_due() == 0
    leases.settle()
    assert leases.next_due() == pytest.approx(1100)


def test_a_lease_past_its_deadline_never_comes_back(leases: LeaseFile, clock: Clock) -> None:
    lease = leases.grant(10)
    clock.advance(9.999)
    leases.renew(lease)
    clock.advance(10)
    assert not leases.is_live(lease)
    with pytest.raises(LeaseLost):
        leases.renew(lease)
    assert leases.mark_due([lease]) == [lease]
    with pytest.raises(LeaseLost):
        leases.renew(lease)


def test_a_crash_after_the_mark_is_made_good_by_the_next_sweep(
    leases: LeaseFile, open_leases: Callable[..., LeaseFile], clock: Clock
) -> None:
    lease, kept = leases.grant(10), leases.grant(100)
    clock.advance(11)
    assert leases.mark_due([lease, kept]) == [lease]
    after = open_leases()
    assert after.next_due() == 0
    assert after.mark_due([lease, kept]) == [lease]
    after.settle()
    assert after.next_due() == pytest.approx(1100)
    assert after.mark_due([kept]) == []


def test_all_handles_see_one_table(leases: LeaseFile, open_leases: Callable[..., LeaseFile]) -> None:
    other = open_leases()
    mine, theirs = leases.grant(10), other.grant(20)
    assert [slot.id for slot in leases.live()] == sorted((mine, theirs))
    other.renew(mine)
    assert leases.is_live(theirs)
    other.mark_due((), revoked=(mine,))
    with pytest.raises(LeaseLost):
        leases.renew(mine)


def test_a_slot_that_another_lease_took_over_says_nothing_of_the_former(
    leases: LeaseFile, open_leases: Callable[..., LeaseFile]
) -> None:
    other, mine = open_leases(), leases.grant(10)
    assert leases.is_live(mine)
    other.mark_due((), revoked=(mine,))
    other.settle()
    theirs = other.grant(10)
    assert leases.path.stat().st_size == 128, "in the same slot"
    assert not leases.is_live(mine)
    assert leases.is_live(theirs)


def test_another_stores_file_is_begun_anew(leases: LeaseFile, open_leases: Callable[..., LeaseFile]) -> None:
    lease = leases.grant(10)
    other = open_leases(secrets.token_hex(16))
    assert other.live() == []
    assert other.next_due() == 0
    assert other.mark_due([lease]) == [lease]


def test_slots_are_used_again_and_ids_are_not(leases: LeaseFile) -> None:
    seen = set()
    for _ in range(50):
        lease = leases.grant(10)
        assert 0 < lease < 2**62
        seen.add(lease)
        leases.mark_due((), revoked=(lease,))
        leases.settle()
    assert len(seen) == 50
    assert leases.path.stat().st_size == 128


def test_threads_grant_and_renew_without_losing_a_slot(leases: LeaseFile) -> None:
    granted: list[int] = []

    def work() -> None:
        for _ in range(25):
            lease = leases.grant(60)
            leases.renew(lease)
            granted.append(lease)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [slot.id for slot in leases.live()] == sorted(granted)
    assert len(set(granted)) == 100
