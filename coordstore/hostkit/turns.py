"""A writer's turn at a store's lock: one batch, or several of those who ask again at once while others stand in line.

To hand a lock over costs about what a commit costs: a thread in another process has to wake, and everything that it
knew of the store is old. So whoever had to wait for his turn keeps it for a few milliseconds, as long as he has
something to write. Others wait a little longer and then get more done; nobody is passed over, for the line stays.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from coordstore.hostkit.batches import Outcome
    from coordstore.hostkit.lockfile import StoreLock

__all__ = ["Work", "in_turn"]

Request = TypeVar("Request")
Request_co = TypeVar("Request_co", covariant=True)
Result = TypeVar("Result")

_KEPT: Final = 0.005
"""Seconds after which no further batch is begun in a turn."""


class Work(Protocol[Request_co, Result]):
    """What is to be written in a turn: `batches.Writing`."""

    @property
    def requests(self) -> Sequence[Request_co]:
        """The batch to write now."""

    def more(self, outcomes: list[Outcome[Result]]) -> bool:
        """Answer that batch and tell whether there is another one now."""


def in_turn(
    lock: StoreLock,
    work: Work[Request, Result],
    write: Callable[[Sequence[Request], bool], list[Outcome[Result]]],
    wait: float | None = None,
    meanwhile: Callable[[], None] | None = None,
    fit: Callable[[], bool] = lambda: True,
) -> list[Outcome[Result]]:
    """Write a batch under the lock, and those behind it; return what became of the last one's requests; blocks.

    Args:
        lock: The store's lock.
        work: The batch, and those behind it.
        write: Writes requests; told whether nobody else can have written since the last time.
        wait: Seconds to wait for the lock, instead of its usual ones.
        meanwhile: What to do now and then while standing in line.
        fit: Tells whether the writer may write once more, or must end what has failed first.

    Raises:
        Unavailable, StoreReplaced: The lock could not be had.
        Exception: What `write` raised; it is everybody's whose requests are now in `work`.
    """
    with lock.held(wait, meanwhile):
        give_back = time.monotonic() + _KEPT
        outcomes = write(work.requests, False)
        while lock.crowded and fit() and time.monotonic() < give_back and work.more(outcomes):
            outcomes = write(work.requests, True)
    return outcomes
