"""The File backend without its threads and its loop: the same journal, writer, tree and compaction, called in a row.

So a workload on a simulated file system does the same calls in the same order every time, and opening a store costs
little enough for tens of thousands of crash states.
"""

from __future__ import annotations

import shutil
from collections import Counter
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, NamedTuple

from coordstore.errors import CoordError
from coordstore.hostkit import LeaseFile, StoreLock, boot_id
from coordstore.model import Append, Check, Delete, Put, Transaction
from coordstore_file import reads, requests
from coordstore_file.compaction import Compaction
from coordstore_file.homes import Reader
from coordstore_file.layout import Layout
from coordstore_file.opening import opened
from coordstore_file.tree import Tree
from coordstore_file.writer import Writer
from tests.faults.crash.deeds import Contents, ShiftedClock

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from coordstore.hostkit import Outcome, Work
    from coordstore.model import Committed
    from tests.faults.crash.deeds import Deed
    from tests.faults.crash.simfs import SimFS


class Alone(NamedTuple):
    """A batch that nobody stands behind."""

    requests: tuple[requests.Request, ...]

    def more(self, outcomes: list[Outcome[Committed]]) -> bool:
        """There is none."""
        return False


class Bare(AbstractContextManager["Bare"]):
    """An open store.

    Args:
        path: Where the real files lie that are outside of the seam: locks and leases.
        fs: The file system.
        fresh: Whether this is the first opening of a boot: the lease table is gone then.
    """

    def __init__(self, path: Path, fs: SimFS, *, fresh: bool = True) -> None:
        if fresh:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir(mode=0o700)
        self.layout, clock = Layout(path), ShiftedClock()
        self._lock = StoreLock(self.layout.lock, 5)
        self.store_id, self.journal = opened(fs, self.layout, self._lock, allow_network=True)
        self._clock = clock
        self._leases = LeaseFile(self.layout.leases, self.store_id, clock)
        self._writer = Writer(self.journal, self._lock, self._leases, clock, Counter(), durable=True)
        self.tree = Tree(self.journal, boot_id())
        self._compaction = Compaction(self.journal, self._lock, self.tree)
        self._homes = Reader(fs, path)
        self._granted: dict[str, int] = {}

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close its files."""
        for owner in (self._writer, self.journal, self._leases, self._lock):
            owner.close()

    def do(self, deed: Deed) -> None:
        """Perform a deed; the tree is shown after it, as the upkeep thread would."""
        match deed.kind:
            case "compact":
                self._compaction.run(deed.number)
            case "grant":
                self._granted[deed.name] = self._leases.grant(deed.number)
            case "expire":
                self._clock.ahead += deed.number
                self.write(requests.Sweep())
            case _:
                self.write(self._request(deed))
        self.tree.show()

    def write(self, *wanted: requests.Request) -> list[Committed]:
        """Commit a batch; raise the first error of one in it."""
        done = self.write_all(Alone(wanted))
        for outcome in done:
            if outcome.error is not None:
                raise outcome.error
        return [outcome.result for outcome in done if outcome.result is not None]

    def write_all(self, work: Work[requests.Request, Committed]) -> list[Outcome[Committed]]:
        """Commit a batch and those behind it; return what became of the last one."""
        return self._writer.write(work)

    def _request(self, deed: Deed) -> requests.Request:
        if deed.kind == "delete_prefix":
            return requests.DeletePrefix(deed.name)
        if deed.kind == "drop":
            return requests.Drop(deed.name)
        if deed.kind == "trim":
            return requests.Trim(deed.name, deed.number)
        if deed.kind == "revoke":
            return requests.Revoke(self._granted[deed.name])
        return requests.Transact(self._transaction(deed))

    def _transaction(self, deed: Deed) -> Transaction:
        writes: list[Put | Delete] = [Put(key, value) for key, value in deed.puts]
        checks: tuple[Check, ...] = ()
        if deed.kind in ("put", "swap", "lease_put"):
            writes.append(Put(deed.name, deed.data, self._granted.get(deed.lease)))
        if deed.kind in ("delete", "exchange"):
            writes.append(Delete(deed.name))
        if deed.kind == "swap":
            with self.journal.mutex:
                self.journal.refresh()
                entry = self.journal.replica.keys.get(deed.name)
            checks = (Check(deed.name, revision=entry.revision if entry else 0),)
        return Transaction(tuple(writes), checks, tuple(Append(stream, data) for stream, data in deed.appends))

    def contents(self) -> Contents:
        """Return what it holds, after ending the leases that are due, as every read does."""
        if self._leases.next_due() <= self._clock.now():
            self.write(requests.Sweep())
        with self.journal.mutex:
            self.journal.refresh()
            replica = self.journal.replica
            keys = {entry.key: entry.value for entry in replica.keys.list("", None, None, False).entries}
            spans = replica.spans("")
            streams = {
                name: tuple(
                    (record.sequence, record.data)
                    for record in reads.read(self.journal, self._homes, name, first - 1, None)
                )
                for name, (first, _) in spans.items()
            }
        return Contents(keys, streams, dict(sorted((name, head) for name, (_, head) in spans.items())))


__all__ = ["Bare", "CoordError"]
