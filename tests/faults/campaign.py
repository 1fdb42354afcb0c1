"""What a fault campaign is: a promise, a number of trials, and what they showed, one row per backend."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Campaign", "Outcome", "campaigns"]


@dataclass(frozen=True)
class Outcome:
    """What one campaign showed on one backend: a row of the table.

    Args:
        backend: Its scheme, or what else was tried.
        trials: How many times the fault was made (cuts, crash states, kills, runs …).
        failures: One text per failed trial; it names the seed, or what else makes the trial happen again.
        note: A figure worth its place in the table, as ``1,294 acknowledged``.
    """

    backend: str
    trials: int
    failures: tuple[str, ...] = ()
    note: str = ""


class Run(Protocol):
    """The callable that makes the trials."""

    def __call__(self, trials: int, seed: int) -> Iterator[Outcome]:
        """Make so many trials on each backend, chosen by the seed; yield a row as soon as it is known."""


@dataclass(frozen=True)
class Campaign:
    """One fault, tried many times.

    Args:
        name: What one types to run it alone.
        promise: The sentence that a failure would refute.
        run: Makes the trials.
        full: Trials per backend in `make faults`.
        part: Trials per backend in `make test`.
        group: Which command runs it: ``local`` is `make faults`, ``etcd`` is `make faults-etcd`.
        needs: What it cannot run without: ``root``, ``linux``, a program on PATH.
    """

    name: str
    promise: str
    run: Run
    full: int
    part: int
    group: str = "local"
    needs: tuple[str, ...] = ()


def campaigns() -> list[Campaign]:
    """Return every campaign: the name CAMPAIGN of each module beside this one, by name of the module."""
    folder = Path(__file__).parent / "campaigns"
    names = sorted(path.stem for path in folder.glob("[!_]*.py"))
    return [importlib.import_module(f"tests.faults.campaigns.{name}").CAMPAIGN for name in names]
