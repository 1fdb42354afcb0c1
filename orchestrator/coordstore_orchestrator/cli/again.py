"""Goes on with a run that lost the lead because the store was out of reach for longer than its lease."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from coordstore.errors import LeaseLost, OutcomeUnknown, Unavailable
from coordstore.store import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.session import SessionView
    from coordstore_orchestrator.run import Run

__all__ = ["run_through"]

PATIENCE: Final = 300.0
"""Seconds without a store, after which the run ends; typing the same command again goes on with it."""
PAUSE: Final = 1.0


async def run_through(begin: Callable[[], Run], say: Callable[[str], None]) -> tuple[Run, SessionView]:
    """Run a session to its end, from where it stands each time that the lead was lost to an outage of the store.

    Args:
        begin: Makes the run; what it had started has ended before it is called again.
        say: Tells the person.

    Returns:
        The run that came to the end, and its last view.

    Raises:
        LeaseLost: The lead was lost while the run was told to end, or another orchestrator came to the end meanwhile.
        Unavailable, OutcomeUnknown: The store stayed out of reach.
    """
    clock, until = SystemClock(), 0.0
    job, lost = begin(), None
    while True:
        try:
            if lost is not None:
                if await job.ended():
                    raise lost
                job = begin()
            return job, await job.run()
        except LeaseLost as error:
            if job.interrupted or error is lost:
                raise
            say(f"{error}; going on as soon as it answers")
            lost, until = error, clock.now() + PATIENCE
        except (Unavailable, OutcomeUnknown):
            if job.interrupted or clock.now() >= until:
                raise
            await clock.sleep(PAUSE)
