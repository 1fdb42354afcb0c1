"""Who orchestrates a session: an election, whose winner's key fences all that the leader writes.

Orchestrators stand in one line, on whatever hosts they are. Who finds another there goes away, or stands by until it
is its turn. A leader that is known to be dead is taken out of the line at once; of any other its lease decides.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, Final

from coordstore.errors import Busy, Conflict, CoordError, OutcomeUnknown, Unavailable
from coordstore.recipes import Election
from coordstore.session.values import as_object, as_value, now_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from coordstore.model import Check, Entry
    from coordstore.recipes import Held
    from coordstore.session.session import Session
    from coordstore.store import Lease

__all__ = ["Leadership", "LedByOther", "lead"]

LEASE_TTL: Final = 10
"""Seconds after which a leader on another host that died is replaced."""
LOOK_AGAIN: Final = 1.0
"""Seconds between two looks of a standby at whether a leader on its own host is dead."""


class LedByOther(CoordError, RuntimeError):
    """Another orchestrator, alive as far as can be known, leads the session."""

    hint: ClassVar[str] = "Wait for it, follow it with `coord inspect --watch`, or stop the process that is named."

    exit_code = 5


class Leadership:
    """That this orchestrator leads, and the condition that proves it in a transaction.

    Args:
        fence: A check on the leader key's create revision.
        lease: What the key hangs on.
    """

    def __init__(self, fence: Check, lease: Lease) -> None:
        self.fence = fence
        self.lease = lease


@contextlib.asynccontextmanager
async def lead(
    session: Session,
    holder: Mapping[str, Any],
    is_dead: Callable[[Mapping[str, Any]], bool],
    standby: Callable[[Mapping[str, Any]], None] | None = None,
) -> AsyncIterator[Leadership]:
    """Lead a session for the time of an ``async with``.

    Args:
        session: What to lead.
        holder: Who we are: host, boot id, pid, start time.
        is_dead: Tells of such a record whether that process is known to be gone (same host, same boot); such a
            leader is taken over at once, any other when its lease ends.
        standby: Stand by when somebody leads, and take over once nobody does; it is called with who leads then.
            None: do not wait.

    Raises:
        LedByOther: Somebody leads it, and we do not stand by; the message says who.
        LeaseLost: The store was out of reach for too long while we stood by.
    """
    record = as_value({**holder, "since": now_text()})
    async with await session.store.grant(LEASE_TTL) as lease:
        election = Election(session.store, session.name, lease=lease, cancel_body=False, prefix=session.keys.leader)
        held = await _at_once(session, election, record, is_dead, refuse=standby is None)
        if held is None:
            assert standby is not None  # noqa: S101  (else it was refused)
            held = await _in_turn(session, election, record, is_dead, standby)
        try:
            yield Leadership(held.fence, lease)
        finally:
            with contextlib.suppress(CoordError):  # its lease ends right after
                await held.release()


async def _at_once(
    session: Session,
    election: Election,
    record: bytes,
    is_dead: Callable[[Mapping[str, Any]], bool],
    *,
    refuse: bool,
) -> Held | None:
    """Lead if nobody does who may be alive; None: somebody does."""
    while True:
        try:
            return await election.campaign(record, wait=0)
        except Busy as busy:
            found = await _leading(session)
            if found is None or await _removed(session, found, is_dead):
                continue
            if refuse:
                raise _led_by_other(session, as_object(found)) from busy
            return None


async def _in_turn(
    session: Session,
    election: Election,
    record: bytes,
    is_dead: Callable[[Mapping[str, Any]], bool],
    standby: Callable[[Mapping[str, Any]], None],
) -> Held:
    """Stand in line until it is our turn, and clear away leaders that are known to be dead meanwhile."""
    standing = asyncio.ensure_future(election.campaign(record))
    told: Mapping[str, Any] | None = None
    try:
        while not standing.done():
            with contextlib.suppress(Unavailable, OutcomeUnknown):  # then the next look shows it
                found = await _leading(session)
                if found is not None and not await _removed(session, found, is_dead) and as_object(found) != told:
                    told = as_object(found)
                    if found.value != record:
                        standby(told)
            await asyncio.wait({standing}, timeout=LOOK_AGAIN)
        return standing.result()
    finally:
        standing.cancel()
        await asyncio.gather(standing, return_exceptions=True)


async def _leading(session: Session) -> Entry | None:
    """Return the key of who leads."""
    line = (await session.store.list(f"{session.keys.leader}/line")).entries
    return min(line, key=lambda entry: (entry.create_revision, entry.key), default=None)


async def _removed(session: Session, found: Entry, is_dead: Callable[[Mapping[str, Any]], bool]) -> bool:
    """Remove the key of a leader that is known to be dead; return whether it may be gone."""
    if not is_dead(as_object(found)):
        return False
    with contextlib.suppress(Conflict):
        await session.store.delete(found.key, expect=found.revision)
    return True


def _led_by_other(session: Session, other: Mapping[str, Any]) -> LedByOther:
    return LedByOther(
        f"session {session.name} is led by process {other.get('pid', '?')} on {other.get('host', '?')}:"
        " stand by with --standby, stop it, or follow it with `coord inspect --watch`"
    )
