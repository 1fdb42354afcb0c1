"""Proxy: a TCP relay before one etcd member that loses replies, cuts, stalls, delays, or swallows one direction."""

from __future__ import annotations

import asyncio
import contextlib
import enum
from typing import TYPE_CHECKING, Final, Self

from tests.etcdlab.frames import Frames

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import TracebackType

__all__ = ["Proxy", "Way", "proxies"]

CHUNK: Final = 1 << 16
SOME: Final = 0.005
"""Seconds between two looks at a direction that is held."""


class Way(enum.Enum):
    """What happens to the bytes of one direction."""

    OPEN = "forwarded"
    HELD = "kept back, and forwarded later"
    LOST = "swallowed; a connection that lost any is broken off when the way opens again"


class Link:
    """One connection through the proxy."""

    def __init__(self, proxy: Proxy, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self._requests = Frames(preface=True)
        self._replies = Frames(preface=False)
        self._lost_call: int | None = None
        self._left = proxy.lifetime()
        self.torn: set[bool] = set()
        """The directions in which bytes were lost; True is from the client."""

    async def run(self, from_client: asyncio.StreamReader, from_server: asyncio.StreamReader) -> None:
        """Relay until either side ends, or it is cut."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(from_client, self._server, up=True))
                group.create_task(self._pump(from_server, self._client, up=False))
        except* (OSError, EOFError):
            pass
        finally:
            self.cut()

    def cut(self) -> None:
        """Break both sides off; what is still in buffers is lost."""
        for side in (self._client, self._server):
            side.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await source.read(CHUNK):
            await self._pass(data, sink, up=up)
        raise EOFError

    async def _pass(self, data: bytes, sink: asyncio.StreamWriter, *, up: bool) -> None:
        proxy = self._proxy
        if proxy.delay:
            await asyncio.sleep(proxy.delay)
        if (proxy.requests if up else proxy.replies) is Way.HELD:
            proxy.kept += 1
        while (way := proxy.requests if up else proxy.replies) is Way.HELD:  # noqa: ASYNC110 - what tests set are plain attributes
            await asyncio.sleep(SOME)
        if way is Way.LOST or up in self.torn:
            self.torn.add(up)
            return
        if up and proxy.plain:
            self._look_for_call(data)
        if not up:
            data = self._without_lost_reply(data) if proxy.plain else data
            data, self._left = data[: self._left], self._left - len(data)
        proxy.passed += len(data)
        sink.write(data)
        await sink.drain()
        if self._left <= 0:
            proxy.cuts += 1
            raise EOFError

    # --- one reply lost ---------------------------------------------------------------------------------

    def _look_for_call(self, data: bytes) -> None:
        """If a reply is to be lost, choose the first call that is whole from now on; a watch never is."""
        for frame in self._requests.feed(data):
            if frame.ends and self._proxy.armed and self._lost_call is None:
                self._proxy.armed = False
                self._lost_call = frame.stream

    def _without_lost_reply(self, data: bytes) -> bytes:
        """Return the bytes that come before the reply that is lost, and break the connection off behind them."""
        passed = []
        for frame in self._replies.feed(data):
            if frame.stream == self._lost_call:
                # The call was carried out, or there would be no frame of a reply.
                self._proxy.losses += 1
                self._lost_call = None
                self.torn.add(False)
                if not self._proxy.stall_after_loss:
                    self._left = 0
                break
            passed.append(frame.raw)
        return b"".join(passed)


class Proxy:
    """A relay before a server; as an async context manager it listens on a free port of loopback.

    Args:
        host: The server's address.
        port: The server's port.
        plain: Whether it speaks HTTP/2 without TLS, so that single replies can be told apart.

    Attributes:
        requests: What happens to bytes from clients.
        replies: What happens to bytes to clients.
        delay: Seconds that each piece is late.
        lifetime: Called for each connection: after so many bytes to the client it is cut.
        refusing: Whether new connections are broken off at once.
        armed: Whether the next reply is to be lost.
        stall_after_loss: Whether a connection that lost a reply goes silent instead of breaking off.
        losses: How many replies were lost.
        cuts: How many connections were cut for their age.
        kept: How many pieces were held back.
        passed: How many bytes went through.
    """

    def __init__(self, host: str, port: int, *, plain: bool = True) -> None:
        self._target = host, port
        self.plain = plain
        self._links: set[Link] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self.requests = self.replies = Way.OPEN
        self.delay = 0.0
        self.lifetime: Callable[[], int] = lambda: 1 << 62
        self.refusing = False
        self.armed = False
        self.stall_after_loss = False
        self.losses = self.cuts = self.kept = self.passed = 0

    async def __aenter__(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cut everything and listen no more."""
        assert self._server is not None
        self._server.close()
        self.cut()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def endpoint(self) -> str:
        """Where it listens, ``HOST:PORT``."""
        assert self._server is not None
        host, port = self._server.sockets[0].getsockname()[:2]
        return f"{host}:{port}"

    async def _accept(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        # Cancelled is how the proxy ends its connections.
        with contextlib.suppress(asyncio.CancelledError):
            await self._relay(from_client, client)
        self._tasks.discard(task)

    async def _relay(self, from_client: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            if self.refusing:
                raise ConnectionRefusedError
            from_server, server = await asyncio.open_connection(*self._target)
        except OSError:
            client.transport.abort()
            return
        link = Link(self, client, server)
        self._links.add(link)
        try:
            await link.run(from_client, from_server)
        finally:
            self._links.discard(link)

    # --- faults -----------------------------------------------------------------------------------------

    def cut(self) -> None:
        """Break every connection off; new ones are taken."""
        for link in list(self._links):
            link.cut()

    def lose_next_reply(self, *, stall: bool = False) -> None:
        """Let the next call reach the server and its reply go nowhere; then the connection breaks off, or is silent."""
        self.armed, self.stall_after_loss = True, stall

    def heal(self) -> None:
        """End every fault, and break off the connections that lost bytes."""
        self.requests = self.replies = Way.OPEN
        self.delay = 0.0
        self.refusing = self.armed = self.stall_after_loss = False
        self.lifetime = lambda: 1 << 62
        for link in [link for link in self._links if link.torn]:
            link.cut()


@contextlib.asynccontextmanager
async def proxies(endpoints: str) -> AsyncIterator[list[Proxy]]:
    """Yield a proxy before each of the endpoints, which are separated by commas."""
    async with contextlib.AsyncExitStack() as stack:
        pairs = [endpoint.rpartition(":") for endpoint in endpoints.split(",")]
        yield [await stack.enter_async_context(Proxy(host, int(port))) for host, _, port in pairs]
