"""The mail of a running attempt: what was sent to it or to its task is handed to its agent when the agent calls."""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import CoordError
from coordstore.recipes import Mailbox, Scratchpad

if TYPE_CHECKING:
    from collections.abc import Callable

    from coordstore.session.claim import Claim

__all__ = ["Post"]

log = logging.getLogger(__name__)

AT_ONCE: Final = 20
"""Messages that are handed over with one answer, at most."""
LOOK_AGAIN: Final = 30.0
"""Seconds after which a box is looked into although nothing has come."""
PAUSE: Final = 1.0
"""Seconds before the store is asked again after it could not be reached."""


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

    async def deliver(self, hand: Callable[[str], None]) -> None:
        """Hand over each message when it comes, until cancelled; with the store out of reach it comes later."""
        news = asyncio.Event()
        watching = [asyncio.create_task(_watch(box, news)) for box in self._boxes]
        try:
            while True:
                news.clear()
                try:
                    for told in await self.take():
                        hand(f"message from {told['from']}: {told['text']}")
                except CoordError as error:
                    log.warning("mail is not delivered now: %s", error)
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_AGAIN):
                        await news.wait()
        finally:
            for task in watching:
                task.cancel()
            await asyncio.gather(*watching, return_exceptions=True)

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


async def _watch(box: Mailbox, news: asyncio.Event) -> None:
    """Tell when something changes in a box."""
    while True:
        try:
            async with aclosing(box.store.watch(f"{box.prefix}/{box.me}/")) as batches:
                async for _ in batches:
                    news.set()
        except CoordError as error:
            log.warning("mail is not watched now: %s", error)
            await asyncio.sleep(PAUSE)
            news.set()
