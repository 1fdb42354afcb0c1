"""How an agent's process ended, and how a keeper reports it."""

from __future__ import annotations

from dataclasses import dataclass

from coordstore_orchestrator.worker.process.identity import Leftover

__all__ = ["Exit", "parse_exit"]


@dataclass(frozen=True, slots=True)
class Exit:
    """How an agent's process ended, by its wait status and nothing else.

    Args:
        code: Its exit status; None when a signal ended it, or when nobody saw its end.
        signal: The number of the signal that ended it.
        lost: Whether its end was not seen: the guardian or its keeper was killed. Then it is dead all the same.
        leftovers: What it had left running when it ended by itself; all of that was killed.
        survivors: What could not be killed: in the kernel for good, or another user's.
        cpu_seconds: Processor time of it and of the children it waited for.
        peak_kib: The largest resident size among them, in KiB.
    """

    code: int | None
    signal: int | None
    lost: bool = False
    leftovers: tuple[Leftover, ...] = ()
    survivors: tuple[Leftover, ...] = ()
    cpu_seconds: float = 0.0
    peak_kib: int = 0

    @property
    def ok(self) -> bool:
        """Whether it ended by itself with status 0."""
        return self.code == 0


def parse_exit(kind: bytes, fields: list[bytes]) -> Exit:
    """Read a keeper's report."""
    if not fields:
        return Exit(None, None, lost=True)
    code, milliseconds, kibibytes, *rest = fields
    survivors, rest = _parse_processes(rest)
    leftovers, _ = _parse_processes(rest)
    status, lost = int(code), kind != b"exited"
    return Exit(
        code=None if lost or status < 0 else status,
        signal=None if lost or status >= 0 else -status,
        lost=lost,
        leftovers=leftovers,
        survivors=survivors,
        cpu_seconds=int(milliseconds) / 1000,
        peak_kib=int(kibibytes),
    )


def _parse_processes(fields: list[bytes]) -> tuple[tuple[Leftover, ...], list[bytes]]:
    """Read a list of processes; return it and the fields after it."""
    count, place, found = int(fields[0]), 1, []
    for _ in range(count):
        pid, size = int(fields[place]), int(fields[place + 1])
        found.append(Leftover.of(pid, fields[place + 2 : place + 2 + size]))
        place += 2 + size
    return tuple(found), fields[place:]
