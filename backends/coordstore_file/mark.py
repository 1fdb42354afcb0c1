"""The mark: up to where the log is committed, in one small file that is written in place after each commit.

Readers stop at the mark. What lies above it was never acknowledged: the next writer takes it over where it is whole
and cuts it off where it is not. What lies below it must be whole, else the store is corrupt.

The mark itself is never synced, so after a reboot it may be older than the log; it is never ahead of what was synced
in `synced`. `committed` counts only within the boot that wrote it: at ``durability=process`` the log up to there may
not have reached the disk.

Two slots are written in turn, so a write that fails half-way costs the new mark and never the one before. A slot
that fails its check is seen: whoever finds one knows that the other may be one commit behind.
"""

from __future__ import annotations

import functools
import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.errors import StoreReplaced

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MARK_SIZE", "Mark", "Place", "check_follows"]

_MAGIC: Final = b"coordmrk"
_BODY: Final = struct.Struct("<8sII16s16s8Q")
_CHECK: Final = struct.Struct("<I")
MARK_SIZE: Final = 256
_SLOT: Final = 128
_SEED: Final = 0x6D61726B


class Place(NamedTuple):
    """A place in the log: the number of a segment, and an offset in it."""

    segment: int
    offset: int


class Mark(NamedTuple):
    """What the mark tells.

    Args:
        store_id: The store's identity.
        boot: The boot in which it was written.
        committed: Up to where the log is committed.
        synced: Up to where the log is known to survive a power cut.
        revision: The store's revision at `committed`.
        snapshot: The segment before which the newest snapshot stands; 0: there is none.
        floor: The compaction floor.
        bad_tail: A sync failed behind `committed`: nothing there may be taken over.
        turn: How many marks there were before.
    """

    store_id: bytes
    boot: bytes
    committed: Place
    synced: Place
    revision: int
    snapshot: int = 0
    floor: int = 0
    bad_tail: bool = False
    turn: int = 0

    @property
    def slot(self) -> int:
        """Where in the file it stands."""
        return self.turn % 2 * _SLOT

    def pack(self) -> bytes:
        """Return it as the bytes of its slot."""
        numbers = (*self.committed, *self.synced, self.revision, self.snapshot, self.floor, self.turn)
        body = _BODY.pack(_MAGIC, 1, self.bad_tail, self.store_id, self.boot, *numbers)
        return (body + _CHECK.pack(zlib.crc32(body, _SEED))).ljust(_SLOT, b"\0")

    @classmethod
    def parse(cls, raw: bytes) -> tuple[Mark | None, bool]:
        """Return the newest mark, None when there is none; and whether both slots are good."""
        slots = [_parsed(raw[at : at + _SLOT]) for at in (0, _SLOT)]
        good = [mark for mark in slots if mark is not None]
        return max(good, key=lambda mark: mark.turn, default=None), len(good) == len(slots) and len(raw) == MARK_SIZE


# One of the two slots is the same as at the last reading, and both are while nobody writes.
@functools.lru_cache(maxsize=4)
def _parsed(raw: bytes) -> Mark | None:
    body = raw[: _BODY.size]
    if len(raw) != _SLOT or raw[_BODY.size + _CHECK.size :].strip(b"\0"):
        return None
    if _CHECK.unpack_from(raw, _BODY.size)[0] != zlib.crc32(body, _SEED) or body[:8] != _MAGIC:
        return None
    _, _, bad, store_id, boot, *numbers = _BODY.unpack(body)
    segment, offset, synced_segment, synced, revision, snapshot, floor, turn = numbers
    places = Place(segment, offset), Place(synced_segment, synced)
    return Mark(store_id, boot, *places, revision, snapshot, floor, bool(bad), turn)


def check_follows(mark: Mark, known: Mark, store_id: bytes, root: Path) -> None:
    """Check that a mark which was read can come after one that is known.

    Args:
        mark: What was read.
        known: The last one of this handle.
        store_id: The store that the handle is on.
        root: Where it lies, for the message.

    Raises:
        StoreReplaced: It is another store's, or an older state of this one.
    """
    if mark.store_id != store_id:
        message = f"{root} holds another store now ({mark.store_id.hex()}): open it anew"
        raise StoreReplaced(message)
    if mark.revision < known.revision or mark.committed < known.committed:
        message = (
            f"{root} went back from revision {known.revision} to {mark.revision} (a restored backup?): open it anew"
        )
        raise StoreReplaced(message)
