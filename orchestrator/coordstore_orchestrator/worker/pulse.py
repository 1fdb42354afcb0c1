"""Pulses: what a quiet agent is seen to use, measured on one monotonic clock, for whoever judges whether it hangs."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordstore.session import events
from coordstore_orchestrator.worker.process import proctree

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["PULSE", "Pulses", "Sight", "cpu_seconds"]

PULSE: Final = 5.0
"""Seconds between two pulses of a quiet agent, at first."""
PULSE_SHARE: Final = 6
"""A pulse comes at most so many times within the time that the agent has been quiet: they get rarer."""
UNCHANGED: Final = 5
"""Steps without a changed file after which a look at the files is told by a pulse."""
TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sight:
    """What an observer looks at beside the output.

    Args:
        files: Returns the paths that differ from the base, and something that changes whenever they do.
        record: Returns the record that the agent itself writes, redacted; None: there is none, or it is unchanged.
        used: Returns the processor time in seconds that the agent has used, and the bytes that it has printed; None:
            nobody measures them, and no pulse is told.
        pulse: Seconds without a sign of life after which pulses are told, and between two of them at first.
    """

    files: Callable[[], Awaitable[tuple[list[str], object]]]
    record: Callable[[], Awaitable[bytes | None]]
    used: Callable[[], Awaitable[tuple[float, int]]] | None = None
    pulse: float = PULSE


class Pulses:
    """Decides when a pulse is due, and makes it.

    Args:
        sight: What measures.
        clock: Tells the time in seconds.

    Attributes:
        looked: How many steps had been taken when the files were last looked at.
    """

    def __init__(self, sight: Sight, clock: Callable[[], float]) -> None:
        self.looked = 0
        self._sight = sight
        self._clock = clock
        self._began = self._told = self._stepped = clock()
        self._steps = 0
        self._files = 0
        self._changed_at = 0
        self._looked_told = 0

    def changed(self) -> None:
        """Count a change of the files."""
        self._files += 1
        self._changed_at = self.looked

    def restart(self) -> None:
        """Measure how long nothing was done from now on."""
        self._stepped = self._told = self._clock()

    async def look(self, life: float, steps: int) -> list[events.Event]:
        """Return the pulse that is due, if one is.

        Args:
            life: When the agent's last sign of life was seen.
            steps: How many steps it has taken.
        """
        now = self._clock()
        if steps != self._steps:
            self._steps, self._stepped = steps, now
        if self._sight.used is None or not self._due(now, now - life):
            return []
        cpu, output = await self._sight.used()
        self._told, self._looked_told = now, self.looked
        return [
            events.Pulse(
                up=round(now - self._began, 2),
                still=round(now - self._stepped, 2),
                quiet=round(now - life, 2),
                cpu=round(cpu, 2),
                output=output,
                files=self._files,
                looked=self.looked,
            )
        ]

    def _due(self, now: float, quiet: float) -> bool:
        since = self.looked - max(self._changed_at, self._looked_told)
        if since > 0 and self.looked - self._changed_at > UNCHANGED:
            return True
        pause = max(self._sight.pulse, quiet / PULSE_SHARE)
        return max(quiet, now - self._stepped) >= self._sight.pulse and now - self._told >= pause


def cpu_seconds(root: int) -> float:
    """Return the processor time of a process and all below it, with what their ended children used; blocks."""
    pids = [root, *(process.pid for process in proctree.below(root))]
    return sum(_ticks(pid) for pid in pids) / TICKS


def _ticks(pid: int) -> int:
    data = proctree.read_file(f"/proc/{pid}/stat")
    if data is None:
        return 0
    with suppress(ValueError, IndexError):
        fields = data[data.rindex(b")") + 2 :].split()
        return sum(int(field) for field in fields[11:15])
    return 0
