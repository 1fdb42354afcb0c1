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
import fcntl
import os
import secrets
import struct
import threading
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from coordstore.engine import lease_lost
from coordstore.errors import CoordError, Unavailable
from coordstore.hostkit.boot import boot_id
from coordstore.hostkit.paths import check_file, create_file

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
_POLL: Final = 0.0005
_NANO: Final = 1_000_000_000


@dataclass(frozen=True, slots=True)
class LeaseSlot:
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


class LeaseFile:
    """The side file of one store; every method blocks for microseconds, and is safe from several threads.

    Args:
        path: Beside the store's file, in a private directory.
        store_id: The store's identity, 32 hex digits: a file of another store is begun anew.
        clock: What leases are counted on.
    """

    def __init__(self, path: Path, store_id: str, clock: Clock) -> None:
        self.path = path
        self._identity = (_MAGIC, boot_id(), bytes.fromhex(store_id))
        self._clock = clock
        self._places: dict[int, int] = {}
        self._mutex = threading.RLock()
        self._left: list[int] = []
        self._fd = self._open()
        with self._locked():
            if self._header() is None:
                self._reset()

    def __repr__(self) -> str:
        """Show the file."""
        return f"<LeaseFile {self.path}>"

    def close(self) -> None:
        """Let the file go; leases live on by their TTL. No other thread may be using it any more."""
        for descriptor in (self._fd, *self._left):
            if descriptor >= 0:
                os.close(descriptor)
        self._fd, self._left = -1, []

    def next_due(self) -> float:
        """Return a lower bound of when the next lease is due, in seconds on the clock; takes no lock."""
        due = self._header()
        if due is None:
            return 0.0
        return float("inf") if due == _NEVER else due / _NANO

    # --- under this file's lock -------------------------------------------------------------------------

    def is_live(self, lease: int) -> bool:
        """Tell whether a lease can still be renewed; under the store's lock it then outlives the transaction.

        Raises:
            Unavailable: The file cannot be locked or read.
        """
        with self._locked():
            found = self._find(lease)
            return found is not None and found[1].alive(self._now())

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
            slot = LeaseSlot(secrets.randbits(62) | 1, ttl, deadline, _LIVE)
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

    def _open(self) -> int:
        for _ in range(2):
            if check_file(self.path) is None:
                with contextlib.suppress(FileExistsError):
                    return create_file(self.path)
            with contextlib.suppress(FileNotFoundError):
                return os.open(self.path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        message = f"{self.path} appears and disappears: something else uses that name"
        raise Unavailable(message)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            with self._mutex:
                self._follow_path()
                self._acquire()
                try:
                    yield
                finally:
                    fcntl.flock(self._fd, fcntl.LOCK_UN)
        except CoordError:
            raise
        except OSError as error:
            message = f"the lease file {self.path} cannot be used ({error.strerror or error}): nothing was done"
            raise Unavailable(message) from error

    def _acquire(self) -> None:
        give_up = time.monotonic() + _WAIT
        while True:
            try:
                return fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                if time.monotonic() > give_up:
                    message = f"the lease file {self.path} was locked for {_WAIT:g} s by a stopped process: not done"
                    raise Unavailable(message) from error
                time.sleep(_POLL)

    def _follow_path(self) -> None:
        """Notice that the file was removed: another one rules then, in which our leases are not."""
        here = os.fstat(self._fd)
        try:
            there = self.path.lstat()
        except FileNotFoundError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            # Another thread may be reading the old one: it is closed at the end.
            self._left.append(self._fd)
            self._fd = self._open()
            self._places.clear()
            with self._locked():
                if self._header() is None:
                    self._reset()

    def _now(self) -> int:
        return int(self._clock.now() * _NANO)

    def _header(self) -> int | None:
        """Return the next due time; None: not a header of this store and boot."""
        raw = os.pread(self._fd, _SIZE, 0)
        if len(raw) < _SIZE:
            return None
        *identity, due, check = _HEADER.unpack(raw)
        return due if tuple(identity) == self._identity and check == _check(raw[:48]) else None

    def _write_due(self, due: int) -> None:
        body = _HEADER.pack(*self._identity, due, 0)
        self._write(0, _HEADER.pack(*self._identity, due, _check(body[:48])))

    def _reset(self) -> None:
        """Begin the file anew; next due is zero, so that the first sweep ends whatever keys hang on."""
        os.ftruncate(self._fd, 0)
        self._write_due(0)

    def _write(self, place: int, raw: bytes) -> None:
        if os.pwrite(self._fd, raw, place * _SIZE) != _SIZE:
            message = f"the lease file {self.path} could not be written in full (disk full?): nothing was promised"
            raise Unavailable(message)

    def _write_slot(self, place: int, slot: LeaseSlot) -> None:
        fields = (slot.id, slot.deadline, slot.ttl, slot.state)
        self._write(place, _SLOT.pack(*fields, _check(_SLOT.pack(*fields, 0)[:24])))

    def _slots(self) -> Iterator[tuple[int, LeaseSlot]]:
        raw = os.pread(self._fd, os.fstat(self._fd).st_size, 0)
        for place in range(1, len(raw) // _SIZE):
            slot = _parse(raw[place * _SIZE : (place + 1) * _SIZE])
            if slot is not None:
                yield place, slot

    def _find(self, lease: int) -> tuple[int, LeaseSlot] | None:
        place = self._places.get(lease)
        if place is not None:
            slot = _parse(os.pread(self._fd, _SIZE, place * _SIZE))
            if slot is not None and slot.id == lease:
                return place, slot
        for found in self._slots():
            if found[1].id == lease:
                self._places[lease] = found[0]
                return found
        return None

    def _free_place(self) -> int:
        size = os.fstat(self._fd).st_size
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
