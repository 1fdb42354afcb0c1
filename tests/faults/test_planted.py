"""A campaign that cannot fail shows nothing: each finds the bug that is planted for it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from coordstore import open_store
from tests.faults.campaigns import appenders, forks, histories, io_errors, kill_syscalls, lease_bound, zombies
from tests.faults.tracing import EARLY, HOPEFUL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from coordstore import CoordStore

pytestmark = [pytest.mark.req("S5", "S7", "S9"), pytest.mark.timeout(300)]


def test_a_fence_that_is_not_passed_on_lets_zombies_write() -> None:
    outcome = zombies.on("sqlite", 3, honest=False)
    assert len(outcome.failures) >= 3
    assert any("its data is there" in failure for failure in outcome.failures)


def test_an_append_that_is_noted_before_it_is_made_is_lost() -> None:
    outcome = appenders.on("sqlite", 2_000, 1, honest=False)
    assert any("lost" in failure or "was acknowledged as" in failure for failure in outcome.failures)


def test_a_holder_that_counts_its_lease_from_later_on_believes_too_long() -> None:
    wrong, _ = lease_bound.cut_off("sqlite", 2, forgetful=True)
    assert len(wrong) == 2


def test_a_lock_that_a_forked_child_keeps_stops_everybody_else() -> None:
    # Only a fork while the lock is held shows it: about every second one on an idle machine.
    assert any(forks.forked_at("sqlite", 0.05, kill=True, careless=True) for _ in range(300))


@contextlib.asynccontextmanager
async def forgetful(url: str) -> AsyncIterator[CoordStore]:
    """Open a store whose reads of one key lag behind by one write."""
    async with open_store(url) as store:
        real = store.get
        known: dict[str, object] = {}

        async def get(key: str) -> object:
            found = await real(key)
            return known.setdefault(key, found) if key.endswith("/k0") else found

        store.get = get  # type: ignore[method-assign, assignment]
        yield store


def test_a_store_that_answers_from_memory_is_found_out() -> None:
    outcome = histories.on("sqlite", 1, 1, opener="tests.faults.test_planted:forgetful")
    assert outcome.failures


def test_what_was_acknowledged_before_it_was_done_does_not_survive_a_kill() -> None:
    # Which kill shows it depends on how far the disk is: most eights have one.
    tried = (kill_syscalls.on("file", 8, seed, plant=EARLY) for seed in range(1, 9))
    assert any("done" in failure for outcome in tried for failure in outcome.failures)


def test_a_failed_sync_that_is_taken_for_a_success_is_found_out() -> None:
    fault = io_errors.Fault("fdatasync", 8, "EIO")
    assert "was not synced" in (io_errors.failed("file", HOPEFUL, fault) or "")
