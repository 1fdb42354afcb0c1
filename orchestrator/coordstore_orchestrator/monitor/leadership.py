"""Who orchestrates a session: one key on the leader's lease; its create revision fences all the leader writes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, ClassVar, Final

from coordstore.errors import Conflict, CoordError
from coordstore.model import Check
from coordstore.session.values import as_object, as_value, now_text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from coordstore.model import Entry
    from coordstore.session.session import Session
    from coordstore.store import Lease

__all__ = ["Leadership", "LedByOther", "lead"]

LEASE_TTL: Final = 10
"""Seconds after which a leader on another host that died is replaced."""


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
    session: Session, holder: Mapping[str, Any], is_dead: Callable[[Mapping[str, Any]], bool]
) -> AsyncIterator[Leadership]:
    """Lead a session for the time of an ``async with``.

    Args:
        session: What to lead.
        holder: Who we are: host, boot id, pid, start time.
        is_dead: Tells of such a record whether that process is known to be gone (same host, same boot); such a
            leader is taken over at once, any other when its lease ends.

    Raises:
        LedByOther: Somebody leads it; the message says who.
    """
    record = as_value({**holder, "since": now_text()})
    async with await session.store.grant(LEASE_TTL) as lease:
        while True:
            found = await session.store.get(session.keys.leader)
            try:
                if found is not None:
                    await _replace(session, found, is_dead)
                token = await session.store.create(session.keys.leader, record, lease)
            except Conflict:
                continue
            break
        yield Leadership(Check(session.keys.leader, create_revision=token), lease)


async def _replace(session: Session, found: Entry, is_dead: Callable[[Mapping[str, Any]], bool]) -> None:
    """Remove the key of a leader that is known to be dead."""
    other = as_object(found)
    if not is_dead(other):
        message = (
            f"session {session.name} is led by process {other.get('pid', '?')} on {other.get('host', '?')}:"
            " wait for it, stop it, or follow it with `coord inspect --watch`"
        )
        raise LedByOther(message)
    await session.store.delete(found.key, expect=found.revision)
