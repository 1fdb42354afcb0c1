"""Shares jobs out among processes, in order: crash states are many, and know nothing of each other."""

from __future__ import annotations

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

Job = TypeVar("Job")
Result = TypeVar("Result")


def shared(work: Callable[[Job], Result], jobs: Sequence[Job], *, alone: bool) -> Iterator[Result]:
    """Yield the results of jobs.

    Args:
        work: A function of a module.
        jobs: Its arguments.
        alone: Do all of it in this process: for few jobs.
    """
    if alone:
        yield from map(work, jobs)
        return
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(work, jobs)
