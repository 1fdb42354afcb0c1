"""What the recipes share: names, counters, and the one way to hold a key: lease, create, wait for one's turn."""

from __future__ import annotations

import os
import secrets
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from coordstore.errors import Busy, InvalidKey, LeaseLost
from coordstore.names import is_segment
from coordstore.recipes.held import Held
from coordstore.recipes.waiting import News, changed, first, to_the_end
from coordstore.store import clock_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from coordstore.store import CoordStore, Lease

__all__ = ["Holding", "Recipe"]

TTL = 10
"""Seconds after which what a dead holder held is free."""
H = TypeVar("H", bound=Held)


class Recipe:
    """A named thing in a store; any number of objects, processes and hosts may stand for the same one.

    Args:
        store: Where it lives.
        name: Its name, one segment of a key.
        prefix: Where it keeps its keys; ``@<kind>/<name>`` by default.
    """

    kind: ClassVar[str]

    def __init__(self, store: CoordStore, name: str, prefix: str = "") -> None:
        if not is_segment(name):
            message = f"{self.kind} name {name!r} is not allowed: one segment [a-z0-9][a-z0-9._-]{{0,63}}"
            raise InvalidKey(message)
        self.name = name
        self.store = store
        self.prefix = prefix or f"@{self.kind}/{name}"
        self.clock = clock_of(store)
        self._counters: Counter[str] = Counter()

    def __repr__(self) -> str:
        """Show the name and the counters."""
        counted = "".join(f" {name}={value:g}" for name, value in sorted(self.statistics().items()))
        return f"<{type(self).__name__} {self.name}{counted}>"

    def statistics(self) -> dict[str, int | float]:
        """Return this object's counters, for debugging and metrics; never blocks."""
        return dict(self._counters)


class Holding(Recipe):
    """A recipe of which one holds a part.

    Args:
        store: Where it lives.
        name: Its name, one segment of a key.
        ttl: Seconds after which what a dead holder held is free.
        lease: A lease of the caller's own to hang on, instead of one for each holding. Cheaper, and all goes at
            once; when the outcome of a request was unknown, end that lease: the key may be there until then.
        owner: Who we are, for people; host and process by default.
        cancel_body: Whether the body of ``async with`` is cancelled when what it holds is lost.
        prefix: Where it keeps its keys; ``@<kind>/<name>`` by default.
    """

    def __init__(
        self,
        store: CoordStore,
        name: str,
        *,
        ttl: int = TTL,
        lease: Lease | None = None,
        owner: str = "",
        cancel_body: bool = True,
        prefix: str = "",
    ) -> None:
        super().__init__(store, name, prefix)
        self.owner = owner or f"{socket.gethostname()}:{os.getpid()}"
        self._ttl = ttl
        self._lease = lease
        self._cancel_body = cancel_body

    def new_key(self, folder: str) -> str:
        """Return a key that nobody else makes."""
        return f"{self.prefix}/{folder}/{secrets.token_hex(8)}"

    async def begin(self, make: Callable[[Lease], Coroutine[Any, Any, tuple[str, int]]], kind: type[H]) -> H:
        """Make a key on a lease; failed or cancelled, neither stays (see `Holding` for a lease of the caller's)."""
        own = self._lease is None
        lease = self._lease or await (await self.store.grant(self._ttl)).__aenter__()
        made: list[H] = []

        def took(place: tuple[str, int]) -> None:
            made.append(kind(self.store, *place, lease, own=own, cancel_body=self._cancel_body))

        try:
            await to_the_end(make(lease), took)
        except BaseException:
            if made:
                await made[0].release()
            elif own:
                await lease.__aexit__(None, None, None)
            raise
        return made[0]

    async def queue(
        self, held: Held, look: Callable[[], Coroutine[Any, Any, News | None]], wait: float | None, what: str
    ) -> None:
        """Look whether it is our turn; if not, wait for the change that may make it so, and look again. See `until`.

        Args:
            held: The place in line.
            look: Returns None when it is our turn, else which change to wait for.
            wait: Seconds, or None.
            what: What is waited for, for messages.
        """

        async def turn(news: News | None) -> None:
            while news is not None:
                await changed(self.store, *news)
                news = await look()

        try:
            news = await look()
        except BaseException as error:
            self._counters["refused"] += isinstance(error, Busy)
            await held.release()
            raise
        if news is None:
            self._counters["acquired"] += 1
        else:
            await self.until(held, turn(news), wait, what)

    async def until(self, held: Held, turn: Coroutine[Any, Any, None], wait: float | None, what: str) -> None:
        """Wait for one's turn; give the place up when it does not come: in time, at all, or the caller is cancelled.

        Raises:
            Busy: It did not come within `wait` seconds.
            LeaseLost: The place was lost meanwhile.
        """
        began = self.clock.now()
        self._counters["waiting"] += 1
        try:
            ended = await first(turn, held.wait_lost(), *([self.clock.sleep(wait)] if wait else []))
            _ensure_turn(ended, held, wait, what)
        except BaseException as error:
            self._counters["refused"] += isinstance(error, Busy)
            await held.release()
            raise
        finally:
            self._counters["waiting"] -= 1
        self._counters["acquired"] += 1
        self._counters["waited"] += self.clock.now() - began  # type: ignore[assignment]  # seconds, a float


def _ensure_turn(ended: int, held: Held, wait: float | None, what: str) -> None:
    """Refuse when it was not the turn (0) that ended the wait, but a loss (1) or the time (2)."""
    if ended == 1:
        message = f"the place in line for {what} was lost with lease {held.lease.id}"
        raise LeaseLost(message, lease=held.lease.id)
    if ended:
        message = f"{what} was not free within {wait:g} s"
        raise Busy(message)
