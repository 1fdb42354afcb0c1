"""The slots of one host, shared by the workers of all the sessions that it serves."""

from __future__ import annotations

from typing import TYPE_CHECKING

from coordstore_orchestrator.worker.permits import Taken

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.store import Lease

__all__ = ["HostSlots", "Share"]


class HostSlots:
    """How many agents run on this host at a time, whatever sessions they are of.

    Args:
        slots: How many may.
    """

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.taken = 0
        self._shares: list[Share] = []

    def __repr__(self) -> str:
        return f"<HostSlots {self.taken} of {self.slots} taken>"

    def share(self) -> Share:
        """Return a part for one session's worker."""
        self._shares.append(Share(self))
        return self._shares[-1]

    def leave(self, share: Share) -> None:
        """Forget the part of a worker that has ended."""
        self._shares.remove(share)

    def freed(self) -> None:
        """Tell all workers that a slot is free."""
        for share in self._shares:
            share.freed()


class Share:
    """One worker's part in the slots of its host; any of them may take all.

    Attributes:
        freed: Called when a slot has become free.

    Args:
        host: The host's slots.
    """

    def __init__(self, host: HostSlots) -> None:
        self.freed: Callable[[], None] = lambda: None
        self._host = host

    async def open(self, lease: Lease) -> None:
        """Begin: nothing of it is in the store."""

    async def take(self) -> Taken | None:
        """Return a slot, or None when there is none: `freed` is called when that has changed."""
        if self._host.taken >= self._host.slots:
            return None
        self._host.taken += 1
        return Taken()

    async def give_back(self, taken: Taken) -> None:
        """Free a slot."""
        del taken
        self._host.taken -= 1
        self._host.freed()

    async def rest(self) -> None:
        """Want none for now: nothing to do."""
