"""Where things lie in the cluster: the names of etcd's keys for a store's keys, streams, records and leases.

Everything of a store begins with its prefix and a colon, which no prefix can hold: so no store's keys are
another's, even when one prefix is the beginning of another, and a role for ``PREFIX:`` covers just this store.

    PREFIX:id                       the store's identity and format, as JSON
    PREFIX:k/KEY                    a key's value
    PREFIX:h/STREAM                 a stream's head: its last sequence, in decimal
    PREFIX:r/STREAM+SEQUENCE.PLACE  a record, as it was appended; the place is the append's in its transaction
    PREFIX:l/LEASE                  the TTL, on the lease itself: so the store knows which leases are its own
    PREFIX:d                        touched by every drop of a stream

``+`` sorts before every character of a name, so a stream's records lie together, in the order of sequences.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from coordstore.names import prefix_bounds

__all__ = ["Layout", "Span"]

_END: Final = "0"
"""What comes behind every name below ``…/``."""


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open range of etcd's keys."""

    low: bytes
    high: bytes


@dataclass(frozen=True, slots=True)
class Layout:
    """The names of one store.

    Args:
        prefix: The store's.
    """

    prefix: str

    @property
    def identity(self) -> bytes:
        """The key of the store's identity."""
        return f"{self.prefix}:id".encode()

    @property
    def drops(self) -> bytes:
        """The key that every drop touches."""
        return f"{self.prefix}:d".encode()

    def key(self, key: str) -> bytes:
        """Return etcd's name of a key."""
        return f"{self.prefix}:k/{key}".encode()

    def head(self, stream: str) -> bytes:
        """Return etcd's name of a stream's head."""
        return f"{self.prefix}:h/{stream}".encode()

    def record(self, stream: str, sequence: int, place: int = 0) -> bytes:
        """Return etcd's name of a record; that of place 0 sorts first."""
        return f"{self.prefix}:r/{stream}+{sequence:016}.{place:02x}".encode()

    def lease(self, lease: int) -> bytes:
        """Return etcd's name of a lease's mark."""
        return f"{self.prefix}:l/{lease:016x}".encode()

    def records(self, stream: str, after: int = 0, upto: int | None = None) -> Span:
        """Return the range of a stream's records above a sequence, up to and including another."""
        high = f"{self.prefix}:r/{stream}," if upto is None else f"{self.prefix}:r/{stream}+{upto + 1:016}"
        return Span(self.record(stream, after + 1), high.encode())

    def area(self, kind: str) -> Span:
        """Return the range of all keys of a kind: ``k``, ``h``, ``r`` or ``l``."""
        return Span(f"{self.prefix}:{kind}/".encode(), f"{self.prefix}:{kind}{_END}".encode())

    def below(self, kind: str, prefix: str, after: str | None = None) -> list[Span]:
        """Return the ranges, in order, of what a prefix covers: the exact name, and what is below it.

        Args:
            kind: ``k`` or ``h``.
            prefix: As in `CoordStore.list`.
            after: Only names behind this one.
        """
        exact, low, high = prefix_bounds(prefix)
        area = self.area(kind)
        spans = []
        if exact is not None and (after is None or after < exact):
            name = area.low + exact.encode()
            spans.append(Span(name, name + b"\0"))
        begin = area.low + (low if after is None or after < low else f"{after}\0").encode()
        end = area.low + high.encode() if prefix else area.high
        if begin < end:
            spans.append(Span(begin, end))
        return spans

    def around(self, kind: str, prefix: str) -> Span:
        """Return one range in which all lies that a prefix covers, and a little more: `under` tells them apart."""
        exact, low, high = prefix_bounds(prefix)
        area = self.area(kind)
        return Span(
            area.low + (low if exact is None else exact).encode(), area.low + high.encode() if prefix else area.high
        )

    def name_of(self, key: bytes) -> str:
        """Return the name of a key or stream from etcd's name."""
        return key[len(self.prefix) + 3 :].decode()

    def record_of(self, key: bytes) -> tuple[str, int, int]:
        """Return stream, sequence and place from a record's name."""
        stream, _, rest = self.name_of(key).rpartition("+")
        sequence, _, place = rest.partition(".")
        return stream, int(sequence), int(place, 16)
