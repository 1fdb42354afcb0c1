"""What a user of a pool still knows of it, so that one who is alone there takes an agent without looking first.

Theory. A view is out of date at once, but to a request that does not matter when, in the transaction that takes the
agent, (1) nobody has got in line or registered since the view (the key ``last`` is as it was; it goes with whom it
names, so it must have been there: its absence proves nothing), and nobody stood in line then; (2) the agent is as it
was: its record, its account, its slot; (3) of all that fit, free or held, it is the first choice. What others did
meanwhile with the other agents can only have made those a worse choice: an account counts up. So the answer is the
one that a look would have given. Where others use the pool, such a request is refused and a look follows; then
nothing is remembered until a look finds the pool as its user left it.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from coordstore.model import Delete, Entry
from coordstore.recipes.pool_view import PoolView

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from coordstore.model import Put
    from coordstore.recipes.pool_view import Request

__all__ = ["Memory"]


class Memory:
    """The entries of a pool as its user saw and left them.

    Attributes:
        asked: The agents that its user is about to take: of several requests at once, each takes another.

    Args:
        prefix: The pool's.
    """

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._entries: dict[str, Entry] = {}
        self._alone = False
        self.asked: set[str] = set()

    @contextmanager
    def asking(self, agent: str) -> Iterator[None]:
        """Keep an agent from the user's other requests while it is being taken."""
        self.asked.add(agent)
        try:
            yield
        finally:
            self.asked.discard(agent)

    def saw(self, view: PoolView) -> None:
        """Take note of a look, and of whether anybody was there since what is remembered."""
        self._alone = _revisions(view.entries.values()) == _revisions(self._entries.values())
        self._entries = dict(view.entries)

    def wrote(self, writes: Iterable[Put | Delete], revision: int) -> None:
        """Take note of what its user wrote."""
        for write in writes:
            if isinstance(write, Delete):
                self._entries.pop(write.key, None)
                continue
            before = self._entries.get(write.key)
            created = before.create_revision if before else revision
            lease = write.lease if isinstance(write.lease, int | None) else write.lease.id
            self._entries[write.key] = Entry(write.key, write.value, revision, created, lease)

    def forget(self) -> None:
        """Look before the next time: somebody else was there, or what was written is not known."""
        self._alone = False

    def recall(self, request: Request) -> PoolView | None:
        """Return the pool as remembered, if what it assigns to a request is what a look would; else None."""
        if not self._alone or f"{self._prefix}/last" not in self._entries:
            return None
        view = PoolView(self._prefix, dict(self._entries))
        return view if view.has_first_choice(request, self.asked) else None


def _revisions(entries: Iterable[Entry]) -> dict[str, int]:
    return {entry.key: entry.revision for entry in entries}
