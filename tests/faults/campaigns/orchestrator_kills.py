"""The orchestrator killed with -9 every five seconds while twenty agents work, on SQLite."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.faults.campaign import Campaign, Outcome
from tests.faults.commanded import Scene, killed_again_and_again

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["CAMPAIGN", "NEEDS", "PROMISE", "outcome"]

PROMISE: Final = "However often its orchestrator is killed, a session ends with the same tree, each task done once."
NEEDS: Final = ("git", "linux")
EVERY: Final = 5.0
"""Seconds that each orchestrator lives; an agent works for as long, or longer."""
SHORT: Final = 3
"""Kills up to which all of that takes a fifth of the time, and the tasks are few."""
TASKS: Final = 8
"""Tasks for each kill: as many as twenty agents do meanwhile on two processors, and some more."""


def outcome(backend: str, url: str, kills: int, seed: int) -> Outcome:
    """Make so many kills in one session, and return what became of it."""
    short = kills <= SHORT
    with tempfile.TemporaryDirectory(prefix="faults-", ignore_cleanup_errors=True) as name:
        every, tasks = (EVERY / 5, 10) if short else (EVERY, TASKS * kills)
        store = url or f"sqlite:{name}/shared.db"
        with Scene(Path(name), store, seed, tasks, every * 2) as scene:
            done, wrong = killed_again_and_again(scene, kills, every)
            begun = scene.attempts("killed") if done else 0
    return Outcome(backend, done, tuple(f"seed {seed}: {each}" for each in wrong), f"{tasks} tasks, {begun} attempts")


def run(trials: int, seed: int) -> Iterator[Outcome]:
    """Kill so many orchestrators of one session."""
    yield outcome("sqlite", "", trials, seed)


CAMPAIGN = Campaign("orchestrator-kills", PROMISE, run, full=120, part=2, needs=NEEDS)
