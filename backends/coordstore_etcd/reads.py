"""Reading from the cluster: several ranges in one cut, pages of one cut, and the look for another store beneath."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import StoreReplaced
from coordstore.model import Entry
from coordstore_etcd.faults import Compacted
from coordstore_etcd.layout import Layout, Span
from coordstore_etcd.messages import EQUAL, TARGET_CREATE, messages

if TYPE_CHECKING:
    from collections.abc import Sequence

    from coordstore_etcd.cluster import Cluster

__all__ = ["Reader", "entry_of", "ranged"]

_PAGE: Final = 512
_PAGES: Final = (16, 4096)
_PAGE_BYTES: Final = 4 * 1024**2


class Reader:
    """Reads of one store, each of which sees that it still is that store.

    Args:
        cluster: Where it lies.
        layout: Its names.
    """

    def __init__(self, cluster: Cluster, layout: Layout) -> None:
        self.cluster = cluster
        self.layout = layout
        self.seen = 0
        self._cluster_id = 0
        self.same_store: Any = None
        self.look_at_store = messages.RequestOp(range=messages.RangeRequest(key=layout.identity, keys_only=True))
        self.guard = b""

    def know(self, header: Any, created: int) -> None:  # noqa: ANN401  (a message)
        """Take the store's identity: the cluster, and the revision at which the store was made in it."""
        self._cluster_id = header.cluster_id
        self.seen = header.revision
        self.same_store = messages.Compare(
            key=self.layout.identity, result=EQUAL, target=TARGET_CREATE, create_revision=created
        )
        guard = messages.TxnRequest(compare=[self.same_store], failure=[self.look_at_store])
        self.guard = guard.SerializeToString()

    def saw(self, header: Any, before: int) -> int:  # noqa: ANN401  (a message)
        """Take in an answer's header; return its revision.

        Args:
            header: Of the answer.
            before: The highest revision seen when its request was sent.

        Raises:
            StoreReplaced: It is another cluster, or an older state of it.
        """
        revision: int = header.revision
        if header.cluster_id != self._cluster_id:
            why = f"this is cluster {header.cluster_id:x}, not {self._cluster_id:x}"
            raise _replaced(why)
        if revision < before:
            why = f"its revision is {revision}, but was {before}"
            raise _replaced(why)
        self.seen = max(self.seen, revision)
        return revision

    async def look(self, *ranges: Any) -> tuple[int, list[Any]]:  # noqa: ANN401  (messages)
        """Return the revision of a cut and the answers to some ranges in it.

        Raises:
            Compacted: A range is of a revision that is compacted.
            FutureRevision: A range is of a revision that the cluster has not reached.
        """
        request = messages.TxnRequest(
            compare=[self.same_store], success=[messages.RequestOp(range=each) for each in ranges]
        )
        before = self.seen
        answer = await self.cluster.read("Txn", request)
        revision = self.saw(answer.header, before)
        if not answer.succeeded:
            raise self.gone()
        return revision, [each.range for each in answer.responses]

    def gone(self) -> StoreReplaced:
        """Return the error for a store that was removed from the cluster, or removed and made anew."""
        return _replaced(f"the store under {self.layout.prefix} was removed or made anew")

    async def probe(self, revision: int) -> int:
        """See that a revision can be read; return the present one.

        Raises:
            Compacted, FutureRevision: It cannot.
        """
        return (await self.look(messages.RangeRequest(key=self.layout.identity, revision=revision)))[0]

    async def scan(
        self, spans: Sequence[Span], limit: int | None = None, *, keys_only: bool = False
    ) -> tuple[int, list[Any], bool]:
        """Return a cut's revision, the keys and values in some ranges, and whether there are more than `limit`."""
        while True:
            try:
                return await self._scan(spans, limit, keys_only=keys_only)
            except Compacted:
                # The pages' revision was compacted between two of them: another cut.
                continue

    async def _scan(self, spans: Sequence[Span], limit: int | None, *, keys_only: bool) -> tuple[int, list[Any], bool]:
        if not spans:
            return await self.probe(0), [], False
        page = min(_PAGE, limit or _PAGE)
        revision, answers = await self.look(*(ranged(span, page, keys_only=keys_only) for span in spans))
        found: list[Any] = []
        more = False
        for span, first in zip(spans, answers, strict=True):
            answer = first
            found += answer.kvs
            while answer.more and (limit is None or len(found) < limit):
                rest = Span(answer.kvs[-1].key + b"\0", span.high)
                _, (answer,) = await self.look(ranged(rest, fitting(answer), revision, keys_only=keys_only))
                found += answer.kvs
            more = more or answer.more
        if limit is not None and len(found) > limit:
            return revision, found[:limit], True
        return revision, found, more


def fitting(answer: Any) -> int:  # noqa: ANN401  (a message)
    """Return how many keys the next page should have, by the size of those in this one."""
    average: int = max(answer.ByteSize() // max(len(answer.kvs), 1), 1)
    return min(max(_PAGE_BYTES // average, _PAGES[0]), _PAGES[1])


def ranged(span: Span, limit: int = 0, revision: int = 0, *, keys_only: bool = False) -> Any:  # noqa: ANN401  (a message)
    """Return the request for a range."""
    return messages.RangeRequest(key=span.low, range_end=span.high, limit=limit, revision=revision, keys_only=keys_only)


def entry_of(layout: Layout, kv: Any) -> Entry:  # noqa: ANN401  (a message)
    """Return a key's entry from etcd's."""
    return Entry(layout.name_of(kv.key), kv.value, kv.mod_revision, kv.create_revision, kv.lease or None)


def _replaced(why: str) -> StoreReplaced:
    return StoreReplaced(f"under this handle lies another store or an older state of it ({why}): open it anew")
