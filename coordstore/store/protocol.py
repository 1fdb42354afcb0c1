"""The CoordStore protocol: its docstrings are the specification that every backend keeps.

Theory. A store holds *keys* and *streams*, two separate name spaces, and one number, the *revision*. A
transaction that changes anything takes the next revision, strictly higher than all before it (not dense);
everything it did carries that number. So the revisions are the order in which things happened, for every
client alike: a key's entry tells the revision that wrote it and the one that created it, a list tells the
revision of its cut, a watch goes on from a revision, records of all streams have one common order.

Reading is linearizable: an operation that began after another one ended sees its effect, through whatever
handle, process or host. A write ends in one of three ways, told apart without exception:

- it returned: applied, and as durable as the store's `durability` says;
- it raised `Conflict`, `Fenced`, `LeaseLost`, `Unavailable` or a refusal of its arguments: certainly not
  applied, now or later;
- it raised `OutcomeUnknown`: it may have landed, or may still land. Nothing was retried. Who must know asks
  for a resolvable transaction and calls `resolve`.

Cancellation of a write that has not been sealed into a batch yet: not applied. Later: as `OutcomeUnknown`,
and the `CancelledError` goes through. The store stays usable either way. Cancelling a read leaves nothing behind.

All operations may raise `Unavailable` (a `StoreClosed` or `ForkRefused` among them), `StoreReplaced` and
`Corrupt`; names and sizes are checked before any I/O (`InvalidKey`, `InvalidArgument`, `TooLarge`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, TypeAlias, runtime_checkable

from coordstore.model import Check

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence
    from types import TracebackType

    from coordstore.model import (
        Append,
        Batch,
        Delete,
        Entry,
        HasId,
        LeaseInfo,
        Listing,
        Put,
        Record,
        Resolution,
        StoreInfo,
    )
    from coordstore.store.lease import Lease

    LeaseInfos = list[LeaseInfo]
    Records = list[Record]

__all__ = ["CoordStore", "Fence"]

Fence: TypeAlias = Check | tuple[str, int]
"""A check on a holder key's create revision, or the pair (key, create revision)."""


@runtime_checkable
class CoordStore(Protocol):
    """One handle on a store; safe for any number of tasks of one event loop, refuses a fork."""

    async def __aenter__(self) -> Self:
        """Return the handle itself."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the handle, as `aclose`."""

    async def aclose(self) -> None:
        """End the handle: running watches and follows stop with `StoreClosed`, renewals stop, files are closed.

        Leases granted through the handle are not revoked; they end by their TTL. Idempotent. Cancelled: the
        handle is closed all the same.
        """

    async def info(self) -> StoreInfo:
        """Return what the store is and promises: identity, revision, durability, abilities."""

    # --- keys -----------------------------------------------------------------------------------------

    async def get(self, key: str) -> Entry | None:
        """Return the key's entry, or None when it is absent. Linearizable."""

    async def list(
        self, prefix: str = "", limit: int | None = None, after: str | None = None, keys_only: bool = False
    ) -> Listing:
        """Return one consistent cut of the keys that a prefix covers, sorted by key.

        Args:
            prefix: A key (it and all below), a key and ``/`` (only below), or empty (all).
            limit: At most so many entries; `Listing.more` tells whether there are others. However large the
                prefix and however many pages a backend reads, one call is one cut.
            after: Only keys sorted behind this one. Another call is another cut: compare the revisions.
            keys_only: Leave the values empty.
        """

    async def transact(
        self,
        writes: Sequence[Put | Delete] = (),
        checks: Sequence[Check] = (),
        appends: Sequence[Append] = (),
        fence: Fence | None = None,
        resolvable: bool = False,
    ) -> int:
        """Apply all writes and appends at one revision, or none: the one write primitive.

        First the expiries of leases that are due are committed, at revisions of their own. Then the fence and
        all checks are compared with the keys as they stand; only when every one holds is anything written.

        Args:
            writes: Puts and deletes, each key once. A put on a lease needs that lease alive. Deleting an
                absent key is no change.
            checks: Conditions on keys' revisions or create revisions (0: absent), each key once.
            appends: Records; in their order each takes the next sequence of its stream.
            fence: What a recipe handed out as its fencing condition: a check on the holder key's create
                revision, or the pair of both. It is compared before the checks.
            resolvable: Write a slot key of this client along, so that `resolve` can tell the fate of the
                transaction should its outcome be unknown. Costs one more write; needs this client's own
                lease, which is granted at the first use.

        Returns:
            The transaction's revision. One that changes nothing (no writes, or only deletes of absent keys)
            takes none and returns the store's revision.

        Raises:
            Conflict: A check did not hold; `revisions` tells what was seen. Not applied.
            Fenced: The fence did not hold: the caller is no longer the holder. Not applied.
            LeaseLost: A put names a lease that has ended. Not applied.
            OutcomeUnknown: It may have landed; `op` is set when `resolvable`.
            Unavailable: The store could not be reached in time. Not applied.
        """

    async def put(
        self,
        key: str,
        value: bytes,
        expect: int | None = None,
        lease: HasId | int | None = None,
        fence: Fence | None = None,
    ) -> int:
        """Write one key and return the revision.

        Args:
            key: Its name.
            value: Its bytes.
            expect: The revision it must have now; 0: it must be absent; None: whatever it has.
            lease: The lease to hang it on; None takes it off any.
            fence: As in `transact`.

        Raises:
            Conflict: The key has another revision than expected.
            Fenced, LeaseLost, OutcomeUnknown: As in `transact`.
        """

    async def create(self, key: str, value: bytes, lease: HasId | int | None = None) -> int:
        """Write a key that must be absent; its create revision, which is returned, is a fencing token.

        Raises:
            Conflict: The key exists.
            LeaseLost, OutcomeUnknown: As in `transact`.
        """

    async def delete(self, key: str, expect: int | None = None, fence: Fence | None = None) -> bool:
        """Remove a key; return whether it was there.

        Raises:
            Conflict: The key has another revision than expected (with ``expect=0``: it exists).
            Fenced, OutcomeUnknown: As in `transact`.
        """

    async def delete_prefix(self, prefix: str) -> int:
        """Remove all keys that a prefix covers, at one revision; return how many there were. Streams stay."""

    def watch(self, prefix: str = "", since: int | None = None) -> AsyncGenerator[Batch]:
        """Deliver the changes of a prefix as they happen.

        Each batch is one transaction's changes under the prefix, never split, never merged with another, in
        revision order; none above the compaction floor is left out. Without `since`, or with one below the
        floor (also when compaction overtakes a slow consumer), the full prefix comes first as a reset: parts
        with ``reset=True``, the last of them ``complete``; an empty prefix is one empty complete part. Only a
        reset coalesces. Changes are pushed: nobody polls to see them, and expired leases' keys are reported
        at the latest when a watcher's own sweep ends the lease. A slow consumer costs no memory. Close it
        with ``aclose()`` (`contextlib.aclosing`); cancelling leaves nothing behind.

        Args:
            prefix: As in `list`.
            since: A revision whose state the caller has; delivery begins with the next one.

        Raises:
            StoreReplaced: `since` is above the store's revision, so it came from another store or a later
                state of this one.
            StoreClosed: The handle was closed meanwhile.
        """

    # --- streams --------------------------------------------------------------------------------------

    async def append(self, stream: str, records: Sequence[bytes], fence: Fence | None = None) -> int:
        """Add records at the end of a stream in one transaction; return the last one's sequence.

        Sequences are 1, 2, 3 … dense and unique per stream under any concurrency, also across a trim.

        Raises:
            InvalidArgument: No records.
            Fenced, OutcomeUnknown: As in `transact`.
        """

    async def read(self, stream: str, after: int = 0, limit: int | None = None) -> Records:
        """Return the records of a stream with a sequence above `after`; of an unknown stream: none.

        Raises:
            Trimmed: Records above `after` were trimmed away; `first` tells where the stream begins now.
        """

    def follow(self, prefix: str = "", after: Mapping[str, int] | None = None) -> AsyncGenerator[Record]:
        """Deliver the records of all streams under a prefix, each once, in revision order, then new ones as they come.

        Records of one transaction come in the order of its appends. A stream dropped and begun anew is
        delivered again from its sequence 1.

        Args:
            prefix: As in `list`, over stream names; streams that appear later are included.
            after: Per stream, the sequence up to which the caller has read; a stream not named is delivered
                from its first record that is still there.

        Raises:
            Trimmed: Records behind the cursor were trimmed before they were delivered (also: a cursor lies
                beyond the stream's head, so that is another stream of the same name).
            StoreClosed: The handle was closed meanwhile.
        """

    async def heads(self, prefix: str = "") -> dict[str, int]:
        """Return the last sequence of each stream under a prefix, trimmed or not; one consistent cut."""

    async def trim(self, stream: str, upto: int) -> None:
        """Remove the records of a stream with a sequence up to and including `upto`; its head stays.

        Trimming beyond the head removes what there is; of an unknown stream: nothing.
        """

    async def drop(self, stream: str) -> None:
        """Remove a stream with its head; an append later begins a new one at sequence 1."""

    # --- leases ---------------------------------------------------------------------------------------

    async def grant(self, ttl: int) -> Lease:
        """Grant a lease; keys put on it vanish, in one revision, when it ends.

        The lease lives `ttl` seconds from now unless renewed. ``async with`` on it renews it in the
        background and revokes it at the end; without that nothing renews it but `Lease.renew`.

        Args:
            ttl: Whole seconds, 2 or more, counted on a clock that runs through suspend and is not set.
        """

    async def leases(self) -> LeaseInfos:
        """Return the leases that have not ended, by id."""

    # --- the rest -------------------------------------------------------------------------------------

    async def resolve(self, op: str) -> Resolution:
        """Tell, for good, whether a resolvable transaction of unknown outcome was applied.

        Not by looking alone, for a stalled write may land later: the slot key it depends on is moved first,
        after which it either has landed or never can. Any client may ask.

        Args:
            op: `OutcomeUnknown.op`.

        Raises:
            InvalidArgument: `op` is not such a text.
            LeaseLost: The client's lease, and with it the slot, ended before it was resolved: not to be known any more.
        """

    async def compact(self, keep: int = 0) -> int:
        """Forget the change history except the last `keep` revisions; return the new floor.

        Keys and streams are state and stay. Watches older than the floor get a reset.
        """

    def statistics(self) -> dict[str, int | float]:
        """Return counters of this handle since it was opened, for debugging and metrics; never blocks."""
