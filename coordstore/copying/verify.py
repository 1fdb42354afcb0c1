"""Compares a copy with its source at one revision of the source: every key, every stream, every record."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from coordstore.copying.values import CopyDiffers, Cut
from coordstore.errors import Trimmed

if TYPE_CHECKING:
    from coordstore.model import Record
    from coordstore.store import CoordStore

__all__ = ["Compared", "compare"]

_PAGE: Final = 200
"""Records read at a time."""
_SHOWN: Final = 10


@dataclass(slots=True)
class Compared:
    """What was compared.

    Args:
        records: How many.
        wrong: Names of keys and streams that are not equal.
        hashed: The source's keys and records.
    """

    records: int = 0
    wrong: list[str] = field(default_factory=list)
    hashed: hashlib._Hash = field(default_factory=hashlib.sha256)

    @property
    def digest(self) -> str:
        """What is equal for equal contents."""
        return self.hashed.hexdigest()


async def compare(source: CoordStore, target: CoordStore, cut: Cut, heads: dict[str, int]) -> Compared:
    """Compare two stores.

    Args:
        source: The source, which may have gone on since.
        target: The destination, which nobody may write to meanwhile.
        cut: What the source held at the revision that the destination is at.
        heads: The streams' heads at that revision.

    Raises:
        CopyDiffers: They are not equal; the first differences are named.
    """
    there = await Cut.of(target, with_leased=True)
    found = Compared()
    for key in sorted(cut.keys.keys() | there.keys.keys()):
        mine, theirs = cut.keys.get(key), there.keys.get(key)
        if mine is None or theirs is None or mine[1] != theirs[1]:
            found.wrong.append(f"key {key}")
        found.hashed.update(b"k%s\0%s" % (key.encode(), mine[1] if mine else b""))
    for stream in sorted(heads.keys() | there.heads.keys()):
        head, other = heads.get(stream, 0), there.heads.get(stream, 0)
        if head != other or not await _same((source, target), stream, head, cut.revision, found):
            found.wrong.append(f"stream {stream}")
    if found.wrong:
        more = f" and {len(found.wrong) - _SHOWN} more" if len(found.wrong) > _SHOWN else ""
        message = (
            f"the copy differs from its source at revision {cut.revision} in {', '.join(found.wrong[:_SHOWN])}{more}: "
            "does somebody else write to the destination? Stop that, and copy again with --resume, or into an empty one"
        )
        raise CopyDiffers(message)
    return found


async def _same(stores: tuple[CoordStore, CoordStore], stream: str, head: int, revision: int, found: Compared) -> bool:
    """Tell whether the records of a stream up to a revision that the source still has are equal in both."""
    source, target = stores
    found.hashed.update(b"s%s\0%d\0" % (stream.encode(), head))
    at = 0
    while at < head:
        try:
            mine = [record for record in await source.read(stream, at, _PAGE) if record.revision <= revision]
        except Trimmed as gone:
            at = gone.first - 1
            continue
        if not mine:
            break  # the source has dropped it meanwhile, or begun it anew
        try:
            theirs = await target.read(stream, at, len(mine))
        except Trimmed:
            return False
        if _plain(mine) != _plain(theirs):
            return False
        for record in mine:
            found.hashed.update(b"%d\0%d\0%s" % (record.sequence, len(record.data), record.data))
        found.records += len(mine)
        at = mine[-1].sequence
    return True


def _plain(records: list[Record]) -> list[tuple[int, bytes]]:
    return [(record.sequence, record.data) for record in records]
