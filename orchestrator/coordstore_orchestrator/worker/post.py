"""The mail of a running attempt: what was sent to it or to its task is handed to its agent when the agent calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from coordstore.recipes import Mailbox, Scratchpad

if TYPE_CHECKING:
    from coordstore.session.claim import Claim

__all__ = ["Post"]

AT_ONCE: Final = 20
"""Messages that are handed over with one answer, at most."""


class Post:
    """Takes and sends mail for one attempt.

    Args:
        claim: The attempt.
        task: Its task: who writes to a task writes to whatever attempt runs.
    """

    def __init__(self, claim: Claim, task: str) -> None:
        self._boxes = [Mailbox(claim.store, claim.session, owner) for owner in (task, claim.agent)]
        self._sender = self._boxes[-1]

    async def take(self) -> list[dict[str, Any]]:
        """Return what has come, each message with ``from`` and ``text``; it counts as delivered.

        Cut off in between, what was not returned is delivered again.
        """
        found: list[dict[str, Any]] = []
        for box in self._boxes:
            listing = await box.store.list(f"{box.prefix}/{box.me}", limit=1, keys_only=True)
            if listing.entries and len(found) < AT_ONCE:
                found += await self._empty(box, AT_ONCE - len(found))
        return found

    async def send(self, to: str, text: str) -> str:
        """Send a message in the attempt's name; return its id."""
        return await self._sender.send(to, {"text": text})

    async def note(self, text: str) -> str:
        """Keep a note on the session's scratchpad; return its id."""
        pad = Scratchpad(self._sender.store, self._sender.name)
        return (await pad.append(text, tags=(self._sender.me,))).id

    async def _empty(self, box: Mailbox, most: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        async with box.inbox() as inbox:
            while len(found) < most and (message := await inbox.receive(0)) is not None:
                body = message.body if isinstance(message.body, dict) else {"text": message.body}
                found.append({"from": message.sender, "text": str(body.get("text") or ""), "id": message.id})
                await message.ack()
        return found
