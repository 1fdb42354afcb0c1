"""History: the operations of a run, sorted out, with the final log that is the arbiter of what happened.

The arbiter is what watches of client ``final`` delivered: together one log from revision 0 to the end. A history
without it, with too few operations, or one that the checks cannot judge is *void*: that is a failure of the run,
never a pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from coordstore.model import Record
from coordstore.testing.history.record import OK, OPEN, UNKNOWN, batch_of, data, record_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from coordstore.model import Batch
    from coordstore.testing.history.record import Operation

__all__ = ["FINAL", "Delivered", "History"]

FINAL: Final = "final"
"""The client that reads everything at the end."""
_SOURCES = ("watch", "follow")
_UNCHECKED = frozenset({"trim", "drop"})


@dataclass(slots=True)
class Delivered:
    """A watch or follow and what it delivered, in order.

    Args:
        source: The watch or follow.
        items: The ``batch`` or ``record`` operations.
    """

    source: Operation
    items: list[Operation] = field(default_factory=list)

    @property
    def batches(self) -> list[Batch]:
        """The batches of a watch."""
        return [batch_of(item) for item in self.items]

    @property
    def records(self) -> list[Record]:
        """The records of a follow."""
        return [record_of(item) for item in self.items]


class History:
    """Operations of one run on one store that was empty at first, from any number of processes.

    Args:
        operations: All that was recorded.
        minimum: How many operations must have ended ok for the run to say anything.
    """

    def __init__(self, operations: Iterable[Operation], minimum: int = 1) -> None:
        self.calls: list[Operation] = []
        self.facts: dict[str, object] = {}
        self.hung: list[str] = []
        self.void: list[str] = []
        sources: dict[str, Delivered] = {}
        self.operations = sorted(operations, key=attrgetter("call_ns"))
        for operation in self.operations:
            self._sort_in(operation, sources)
        self.watches = [each for each in sources.values() if each.source.kind == "watch"]
        self.follows = [each for each in sources.values() if each.source.kind == "follow"]
        self.log = self._log()
        self.streams = self._streams()
        self._judge(minimum)

    def __repr__(self) -> str:
        """Show how much there is."""
        return f"<History of {len(self.calls)} operations, {len(self.log)} transactions in the log>"

    def _sort_in(self, operation: Operation, sources: dict[str, Delivered]) -> None:
        if operation.kind == "run":
            self.hung += operation.args.pop("hung", ())
            self.facts.update(operation.args)
        elif operation.kind in _SOURCES:
            sources[operation.op_id] = Delivered(operation)
        elif operation.kind in ("batch", "record"):
            sources[operation.client].items.append(operation)
        else:
            if operation.outcome == OPEN:
                operation.outcome = UNKNOWN
            self.calls.append(operation)

    def _log(self) -> list[Batch]:
        """Return the final watches' batches, one log."""
        return [batch for each in self.watches if _is_final(each.source) for batch in each.batches]

    def _streams(self) -> dict[str, list[Record]]:
        """Return each stream as it was read from zero at the end."""
        reads = [call for call in self.calls if call.kind == "read" and _is_final(call) and call.outcome == OK]
        return {
            read.key: [Record(read.key, sequence, revision, data(found)) for sequence, revision, found in read.value]
            for read in reads
            if not read.args["after"]
        }

    def _judge(self, minimum: int) -> None:
        done = sum(call.outcome == OK for call in self.calls)
        if done < minimum:
            self.void.append(f"only {done} operations ended ok, {minimum} are the least that says anything")
        if not any(_is_final(each.source) for each in self.watches):
            self.void.append("no final log: call final_phase() when everything has ended")
        if any(batch.reset and (batch.changes or batch.revision) for batch in self.log):
            self.void.append("the final log has a reset in it: the store was compacted, or not empty at first")
        for kind in sorted(_UNCHECKED & {call.kind for call in self.calls}):
            self.void.append(f"the history has {kind} in it: what it removes cannot be judged")


def _is_final(operation: Operation) -> bool:
    return operation.client.startswith(f"{FINAL}.")
