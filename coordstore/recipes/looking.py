"""A look into a mail box: which messages can be delivered now, oldest first, and when to look again."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, TypeAlias

from coordstore.errors import Conflict
from coordstore.model import Check, Delete, Put
from coordstore.recipes.letter import Letter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.model import Entry, Listing
    from coordstore.recipes.mailbox import Mailbox

__all__ = ["Look", "Read", "look"]

Read: TypeAlias = "dict[str, tuple[int, Letter]]"
"""Letters that were read, by key, each with its revision."""

LOOK_MAX: Final = 512
"""Entries looked through for a message when none is put off: the claimed ones before them are done first anyway."""


@dataclass(slots=True)
class Look:
    """What was found.

    Args:
        picked: What can be claimed, in order.
        revision: As of when; what comes later is news.
        due: Seconds until one that was put off can be delivered.
        blocked: Senders whose messages wait for one of theirs.
        read: What was looked at.
    """

    picked: list[tuple[Entry, Letter]] = field(default_factory=list)
    revision: int = -1
    due: float = math.inf
    blocked: set[str] = field(default_factory=set)
    read: Read = field(default_factory=dict)


async def look(mail: Mailbox, prefix: str, most: int, read: Read) -> Look:
    """Look for so many messages; bury what is dead on the way.

    Args:
        mail: Whose retries and clock count.
        prefix: Where the box is.
        most: How many messages are wanted.
        read: What the look before has read: a box is looked at after each change, and most of it is as it was.
    """
    found, after, seen = Look(), None, 0
    while True:
        listing = await mail.store.list(prefix + "/", 4 * most, after)
        found.revision = listing.revision if found.revision < 0 else found.revision
        for entry, claimed in _letters(listing):
            before = read.get(entry.key)
            letter = before[1] if before and before[0] == entry.revision else Letter.from_entry(entry)
            found.read[entry.key] = (entry.revision, letter)
            await _sort(mail, found, entry, letter, claimed=claimed)
            after = entry.key + "/claim"
            if len(found.picked) == most:
                return found
        seen += len(listing.entries)
        if not listing.more or (seen > LOOK_MAX and found.due == math.inf):
            return found


def _letters(listing: Listing) -> Iterator[tuple[Entry, bool]]:
    """Yield each message, and whether it is claimed; not the last of a page whose claim may be on the next."""
    claims = {entry.key for entry in listing.entries if entry.key.endswith("/claim")}
    whole = listing.entries[:-1] if listing.more and len(listing.entries) > 1 else listing.entries
    for entry in whole:
        if entry.key not in claims:
            yield entry, f"{entry.key}/claim" in claims


async def _sort(mail: Mailbox, found: Look, entry: Entry, letter: Letter, *, claimed: bool) -> None:
    now = mail.wall()
    if letter.sender in found.blocked:
        return
    if claimed:
        found.blocked.add(letter.sender)
    elif reason := letter.death(now, mail.retries):
        if not await _bury(mail, entry, letter, reason):
            found.blocked.add(letter.sender)
    elif letter.due > now:
        found.blocked.add(letter.sender)
        found.due = min(found.due, letter.due - now)
    else:
        found.picked.append((entry, letter))
        if letter.due:  # refused before: refused again, all that was fetched behind it would have to go back
            found.blocked.add(letter.sender)


async def _bury(mail: Mailbox, entry: Entry, letter: Letter, reason: str) -> bool:
    """Lay a message among the dead, unless somebody claimed or changed it meanwhile; tell whether it lies there."""
    grave = Put(mail.dead_prefix(letter.to) + letter.id, letter.dead(reason).to_json())
    checks = [Check(entry.key, revision=entry.revision), Check(f"{entry.key}/claim", revision=0)]
    try:
        await mail.store.transact([grave, Delete(entry.key)], checks)
    except Conflict:
        return False
    mail.count("dead")
    return True
