"""The lease table that File and SQLite share: a small side file under its own lock, never synced.

Theory. A lease lives in a *slot*: id, TTL, deadline on the boot-time clock. Renewing writes one slot and touches
nothing durable, so it never waits for a data sync; and since a reboot ends every lease, nothing here need
survive one: the header carries the boot id. What a lease's end does to keys is committed by the store:

    live ──renew (only before the deadline)──> live
    live ──deadline passed, or revoked──> ended ──keys gone, committed──> free

1. Under the store's lock somebody marks what is due as *ended*. From here a renewal fails, for good.
2. The store commits the end of the keys. This file's lock is not held meanwhile.
3. The ended slots are freed.

A crash between 1 and 3 leaves ended slots; the header's *next due* time, which is raised only in step 3, makes
the next transaction sweep again. A lease that keys hang on and that this file does not know as live is ended by
any sweep: so a lost or damaged file, or a reboot, ends leases and never prolongs one.

A transaction that finds nothing due reads the header alone, without a lock: `next due` is a lower bound.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from typing import TYPE_CHECKING, Final, NamedTuple

from coordstore.engine import lease_lost
from coordstore.errors import CoordError, Unavailable
from coordstore.hostkit.boot import boot_id
from coordstore.hostkit.lockfile import LockedFile

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from coordstore.store import Clock

__all__ = ["LeaseFile", "LeaseSlot"]

_MAGIC: Final = b"coordlse"
_HEADER: Final = struct.Struct("<8s16s16sqI12x")
_SLOT: Final = struct.Struct("<QqIII36x")
_SIZE: Final = 64
"""Bytes of the header and of each slot."""
_FREE: Final = bytes(_SIZE)
_LIVE, _ENDED = 1, 2
_NEVER: Final = 2**63 - 1
_WAIT: Final = 2.0
"""Seconds to wait for this file's lock, which is held for microseconds."""
_NANO: Final = 1_000_000_000


class LeaseSlot(NamedTuple):
    """A lease as the side file has it.

    Args:
        id: Its id: 62 random bits, never used twice.
        ttl: Seconds it lives after a renewal.
        deadline: Nanoseconds on the boot-time clock.
        state: Live or ended.
    """

    id: int
    ttl: int
    deadline: int
    state: int

    def alive(self, now: int) -> bool:
        """Tell whether it can still be renewed."""
        return self.state == _LIVE and now < self.deadline


class LeaseFile(LockedFile):
    """The side file of one store; every method blocks for microseconds, and is safe from several threads.

    Args:
        path: Beside the store's file, in a private directory.
        store_id: The store's identity, 32 hex digits: a file of another store is begun anew.
        clock: What leases are counted on.
    """

    def __init__(self, path: Path, store_id: str, clock: Clock) -> None:
        super().__init__(path, _WAIT)
        self._identity = (_MAGIC, boot_id(), bytes.fromhex(store_id))
        self._clock = clock
        self._places: dict[int, int] = {}
        try:
            with self._locked():
                """Opened, and begun anew where needed."""
        except BaseException:
            self.close()
            raise

    def opened(self) -> None:
        """Begin the file anew when it is not of this store and boot."""
        self._places.clear()
        if self._header() is None:
            # Next due is zero, so that the first sweep ends whatever keys hang on.
            os.ftruncate(self.fd, 0)
            self._write_due(0)

    def next_due(self) -> float:
        """Return a lower bound of when the next lease is due, in seconds on the clock; takes no lock."""
        due = self._header() if self.at_path() else None
        if due is None:
            return 0.0
        return float("inf") if due == _NEVER else due / _NANO

    # --- under this file's lock -------------------------------------------------------------------------

    def is_live(self, lease: int) -> bool:
        """Tell whether a lease can still be renewed; under the store's lock it then outlives the transaction.

        Raises:
            Unavailable: The file cannot be locked or read.
        """
        # Whoever ends a lease holds the store's lock, so one that is seen alive needs no lock of this file.
        if self._seen_alive(lease):
            return True
        with self._locked():
            found = self._find(lease)
            return found is not None and found[1].alive(self._now())

    def _seen_alive(self, lease: int) -> bool:
        place, slot = self._places.get(lease), None
        with contextlib.suppress(OSError):  # another thread opens the file anew
            if place is not None and self.at_path():
                slot = _parse(os.pread(self.fd, _SIZE, place * _SIZE))
        return slot is not None and slot.id == lease and slot.alive(self._now())

    def live(self) -> list[LeaseSlot]:
        """Return the leases that have not ended, by id; the due ones among them are not swept yet.

        Raises:
            Unavailable: The file cannot be locked or read.
        """
        with self._locked():
            return sorted((slot for _, slot in self._slots() if slot.state == _LIVE), key=lambda slot: slot.id)

    def grant(self, ttl: int) -> int:
        """Begin a lease of so many seconds and return its id.

        Raises:
            Unavailable: The file cannot be locked or written.
        """
        with self._locked():
            deadline = self._now() + ttl * _NANO
            slot = LeaseSlot(int.from_bytes(os.urandom(8)) >> 2 | 1, ttl, deadline, _LIVE)
            place = self._free_place()
            self._write_slot(place, slot)
            self._write_due(min(deadline, self._header() or 0))
        self._places[slot.id] = place
        return slot.id

    def renew(self, lease: int) -> None:
        """Restart a lease's TTL.

        Raises:
            LeaseLost: It has ended, or its deadline has passed.
            Unavailable: The file cannot be locked or written.
        """
        with self._locked():
            found = self._find(lease)
            if found is None or not found[1].alive(self._now()):
                raise lease_lost(lease)
            place, slot = found
            self._write_slot(place, LeaseSlot(lease, slot.ttl, self._now() + slot.ttl * _NANO, _LIVE))

    # --- under the store's lock as well -----------------------------------------------------------------

    def mark_due(self, held: Collection[int], revoked: Collection[int] = ()) -> list[int]:
        """Step 1: mark what is due or revoked as ended; return the leases whose keys must go, each once.

        Args:
            held: The leases that keys hang on.
            revoked: Leases to end whatever their deadline.

        Raises:
            Unavailable: The file cannot be locked or written.
        """
        with self._locked():
            now, live = self._now(), set()
            for place, slot in self._slots():
                if slot.alive(now) and slot.id not in revoked:
                    live.add(slot.id)
                elif slot.state == _LIVE:
                    self._write_due(0)
                    self._write_slot(place, LeaseSlot(slot.id, slot.ttl, slot.deadline, _ENDED))
        return sorted(lease for lease in held if lease not in live)

    def settle(self) -> None:
        """Step 3, after the commit: free the ended slots and tell when the next lease is due.

        Raises:
            Unavailable: The file cannot be locked or written; the next sweep does it.
        """
        with self._locked():
            due = _NEVER
            for place, slot in self._slots():
                if slot.state == _ENDED:
                    self._write(place, _FREE)
                    self._places.pop(slot.id, None)
                else:
                    due = min(due, slot.deadline)
            self._write_due(due)

    # --- the file ---------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self.held():
            try:
                yield
            except CoordError:
                raise
            except OSError as error:
                message = f"the lease file {self.path} cannot be used ({error.strerror or error}): nothing was done"
                raise Unavailable(message) from error

    def _now(self) -> int:
        return int(self._clock.now() * _NANO)

    def _header(self) -> int | None:
        """Return the next due time; None: not a header of this store and boot."""
        raw = os.pread(self.fd, _SIZE, 0)
        if len(raw) < _SIZE:
            return None
        *identity, due, check = _HEADER.unpack(raw)
        return due if tuple(identity) == self._identity and check == _check(raw[:48]) else None

    def _write_due(self, due: int) -> None:
        body = _HEADER.pack(*self._identity, due, 0)
        self._write(0, _HEADER.pack(*self._identity, due, _check(body[:48])))

    def _write(self, place: int, raw: bytes) -> None:
        if os.pwrite(self.fd, raw, place * _SIZE) != _SIZE:
            message = f"the lease file {self.path} could not be written in full (disk full?): nothing was promised"
            raise Unavailable(message)

    def _write_slot(self, place: int, slot: LeaseSlot) -> None:
        fields = (slot.id, slot.deadline, slot.ttl, slot.state)
        self._write(place, _SLOT.pack(*fields, _check(_SLOT.pack(*fields, 0)[:24])))

    def _slots(self) -> Iterator[tuple[int, LeaseSlot]]:
        raw = os.pread(self.fd, os.fstat(self.fd).st_size, 0)
        for place in range(1, len(raw) // _SIZE):
            slot = _parse(raw[place * _SIZE : (place + 1) * _SIZE])
            if slot is not None:
                yield place, slot

    def _find(self, lease: int) -> tuple[int, LeaseSlot] | None:
        place = self._places.get(lease)
        if place is not None:
            slot = _parse(os.pread(self.fd, _SIZE, place * _SIZE))
            if slot is not None and slot.id == lease:
                return place, slot
        for found in self._slots():
            if found[1].id == lease:
                self._places[lease] = found[0]
                return found
        return None

    def _free_place(self) -> int:
        size = os.fstat(self.fd).st_size
        taken = {place for place, _ in self._slots()}
        return next((place for place in range(1, size // _SIZE) if place not in taken), max(size // _SIZE, 1))


def _parse(raw: bytes) -> LeaseSlot | None:
    """Return the slot, None when it is free or damaged (then its lease is not known as live, so it ends)."""
    if len(raw) < _SIZE or raw == _FREE:
        return None
    lease, deadline, ttl, state, check = _SLOT.unpack(raw)
    return LeaseSlot(lease, ttl, deadline, state) if check == _check(raw[:24]) else None


def _check(raw: bytes) -> int:
    return zlib.crc32(raw, 0x636F6F72)
