"""The connection to a cluster: one channel per member, deadlines, rotation, and the token of a user.

Reads are tried on one member after the other until the deadline. A write is sent once: before that it waits for
a member whose channel stands, so "nobody could be reached" is certain; from then on it waits for the answer as
long as the deadline allows and is not sent again, unless the answer proves that nothing was done. A member that
is silent for one try's time is passed over by whatever comes next.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc

from coordstore.errors import OutcomeUnknown, StoreClosed, Unavailable
from coordstore_etcd.faults import AuthenticationOff, Meaning, meaning, refusal
from coordstore_etcd.member import Member
from coordstore_etcd.messages import messages

if TYPE_CHECKING:
    from collections import Counter

    from coordstore_etcd.address import Address

__all__ = ["TRY", "Cluster"]

TRY: Final = 0.7
"""Seconds after which a silent member is passed over."""
_PAUSE: Final = (0.02, 0.5)
"""Seconds between rounds in which no member could be used: the first, the longest."""
_CLOSE_WAIT: Final = 0.5
_LEADER: Final = ("hasleader", "true")


class Cluster:
    """The members of a cluster, one of which is asked at a time.

    Args:
        address: Where they are.
        counters: Where calls, retries and rotations are counted.
    """

    def __init__(self, address: Address, counters: Counter[str]) -> None:
        self.address = address
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._members = [Member(endpoint, address.files) for endpoint in address.endpoints]
        self._at = 0
        self._metadata = grpc.aio.Metadata(_LEADER)
        self._renewing = asyncio.Lock()
        self._tokens = 0
        self._closed = False

    def __repr__(self) -> str:
        """Show the members; the one that is asked stands first."""
        order = [*self._members[self._at :], *self._members[: self._at]]
        return f"<Cluster {' '.join(member.endpoint for member in order)}>"

    async def start(self) -> None:
        """Log in when there is a user; cancelled: `aclose` frees what was made."""
        await asyncio.gather(*(member.open() for member in self._members))
        await self._log_in(self._tokens)

    async def aclose(self) -> None:
        """Close the channels; calls under way have a moment to end."""
        self._closed = True
        await asyncio.gather(*(member.aclose(_CLOSE_WAIT) for member in self._members))

    # --- calls ------------------------------------------------------------------------------------------

    async def write(self, method: str, request: Any) -> Any:  # noqa: ANN401  (messages have no types)
        """Send a request once and return the answer.

        Raises:
            OutcomeUnknown: No answer tells whether it was done.
            Unavailable: It was not done.
        """
        now = self._loop.time()
        end = now + self.address.timeout
        while True:
            if (member := self._standing(now)) is None:
                member = await self.ready(end)
                now = self._loop.time()
            call, tokens = member.call(method), self._tokens
            member.ask(now)
            try:
                return await call(request, timeout=max(end - now, 0.01), metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                what = meaning(error)
                if what is Meaning.LOST:
                    self.pass_over(member)
                    raise self._unknown(method, member, error) from error
                await self._after(what, member, error, end, tokens)
            except asyncio.CancelledError as error:
                self._unless_closed(error, self._unknown(method, member))
                raise
            finally:
                now = self._loop.time()
                member.answer(now)

    async def read(self, method: str, request: Any, *, anonymous: bool = False) -> Any:  # noqa: ANN401  (likewise)
        """Ask until somebody answers: for requests that may be done twice; `anonymous` ones go without the token.

        Raises:
            Unavailable: Nobody did in time.
        """
        end = self._loop.time() + self.address.timeout
        patience = TRY
        while True:
            member = await self.ready(end)
            tokens = self._tokens
            try:
                left = max(end - self._loop.time(), 0.01)
                metadata = grpc.aio.Metadata(_LEADER) if anonymous else self._metadata
                return await member.call(method)(request, timeout=min(patience, left), metadata=metadata)
            except grpc.aio.AioRpcError as error:
                what = meaning(error)
                if what is Meaning.LOST:
                    what = Meaning.ELSEWHERE
                    patience *= 2
                await self._after(what, member, error, end, tokens)
            except asyncio.CancelledError as error:
                self._unless_closed(error, _closed())
                raise

    async def stream(self, method: str, requests: Any) -> tuple[Member, Any]:  # noqa: ANN401  (likewise)
        """Begin a stream of requests and answers; return it with its member."""
        member = await self.ready(self._loop.time() + self.address.timeout)
        return member, member.call(method)(requests, metadata=self._metadata)

    # --- members ----------------------------------------------------------------------------------------

    async def ready(self, end: float) -> Member:
        """Return a member whose channel stands, the one asked before if it does.

        Raises:
            Unavailable: None does until `end`; nothing was sent.
        """
        if (standing := self._standing(self._loop.time())) is not None:
            return standing
        pause, failed = _PAUSE[0], 0
        while True:
            if self._closed:
                raise _closed()
            member = self._members[self._at]
            if await member.ready(min(self._loop.time() + TRY, end)):
                return member
            self.pass_over(member)
            failed += 1
            if self._loop.time() >= end:
                message = f"no member of {self.address} can be reached: is etcd running, and is the way to it open?"
                raise Unavailable(message)
            if failed % len(self._members) == 0:
                await asyncio.gather(*(each.renew() for each in self._members))
                await asyncio.sleep(min(pause, max(end - self._loop.time(), 0)))
                pause = min(2 * pause, _PAUSE[1])

    def _standing(self, now: float) -> Member | None:
        """Return the member that is asked if its channel stands, passing over one that is silent."""
        if asyncio.get_running_loop() is not self._loop:
            message = "this store handle belongs to another event loop: open the store in each loop that uses it"
            raise Unavailable(message)
        member = self._members[self._at]
        if member.silent(now) > TRY:
            self.pass_over(member)
            member = self._members[self._at]
        return member if member.stands() and not self._closed else None

    def pass_over(self, member: Member) -> None:
        """Ask the next one from now on, when it is still this one that is asked."""
        if self._members[self._at] is member and len(self._members) > 1:
            self._at = (self._at + 1) % len(self._members)
            self._counters["rotations"] += 1

    async def each(self, method: str, request: Any) -> list[tuple[str, Any]]:  # noqa: ANN401  (likewise)
        """Ask every member for itself; return for each endpoint the answer, or the error."""

        async def ask(member: Member) -> Any:  # noqa: ANN401  (likewise)
            if not await member.ready(self._loop.time() + 2 * TRY):
                return Unavailable(f"{member.endpoint} cannot be reached")
            try:
                return await member.call(method)(request, timeout=2 * TRY, metadata=self._metadata)
            except grpc.aio.AioRpcError as error:
                return refusal(error)

        return list(zip(self.address.endpoints, await asyncio.gather(*map(ask, self._members)), strict=True))

    # --- errors -----------------------------------------------------------------------------------------

    async def _after(self, what: Meaning, member: Member, error: grpc.aio.AioRpcError, end: float, tokens: int) -> None:
        """Prepare another try after one that did nothing, or raise; `tokens`: how many there were when it was sent."""
        if what is Meaning.REFUSED:
            raise refusal(error) from error
        if self._loop.time() + _PAUSE[0] >= end:
            message = f"{self.address} did not answer in {self.address.timeout:g} s ({_text(error)}): try again"
            raise Unavailable(message) from error
        self._counters["retries"] += 1
        if what is Meaning.TOKEN:
            if not await self._log_in(tokens):
                raise refusal(error) from error
            return
        self.pass_over(member)
        await asyncio.sleep(_PAUSE[0])

    def _unknown(self, method: str, member: Member, error: grpc.aio.AioRpcError | None = None) -> OutcomeUnknown:
        self._counters["unknown"] += 1
        why = _text(error) if error is not None else "the handle was closed"
        message = (
            f"{method} was sent to {member.endpoint} and not answered ({why}): it may have been applied, or may be yet"
        )
        return OutcomeUnknown(message)

    def _unless_closed(self, error: asyncio.CancelledError, instead: Exception) -> None:
        """Raise `instead` when it was not the caller who was cancelled but the call, by closing the channel."""
        task = asyncio.current_task()
        if self._closed and task is not None and not task.cancelling():
            raise instead from error

    # --- the token --------------------------------------------------------------------------------------

    async def _log_in(self, seen: int) -> bool:
        """Get a token unless somebody else did since `seen`; tell whether there is one."""
        async with self._renewing:
            if self._tokens != seen:
                return True
            credentials = await asyncio.to_thread(self.address.credentials)
            if credentials is None:
                return False
            request = messages.AuthenticateRequest(name=credentials.user, password=credentials.password)
            try:  # the old token stays meanwhile: whoever asks without any is refused
                answer = await self.read("Authenticate", request, anonymous=True)
            except AuthenticationOff:
                return False
            self._metadata = grpc.aio.Metadata(_LEADER, ("token", answer.token))
            self._tokens += 1
            self._counters["logins"] += 1
            return True


def _closed() -> StoreClosed:
    return StoreClosed("this store handle was closed: open the store again with open_store()")


def _text(error: grpc.aio.AioRpcError) -> str:
    return f"{error.code().name}: {error.details()}"
