"""One member of the cluster: its channel, and the calls that are made on it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import grpc

from coordstore_etcd.messages import messages

if TYPE_CHECKING:
    from coordstore_etcd.address import Files

__all__ = ["OPTIONS", "Member", "described"]

# The service of each method. A keep-alive is one request and one answer, though etcd declares a stream: so it has
# a deadline and is tried elsewhere like any other call, and no stream must be kept for it.
_SERVICES: Final = {
    "Range": "KV",
    "Txn": "KV",
    "Compact": "KV",
    "LeaseGrant": "Lease",
    "LeaseRevoke": "Lease",
    "LeaseKeepAlive": "Lease",
    "LeaseTimeToLive": "Lease",
    "Authenticate": "Auth",
    "Status": "Maintenance",
    "Alarm": "Maintenance",
    "Watch": "Watch",
}
_NAMES: Final = {"Compact": "Compaction"}
OPTIONS: Final = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.enable_retries", 0),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 3_000),
)
_LOOK: Final = (0.002, 0.05)
"""Seconds between looks at a channel that is being connected: the first, the longest."""


def described(method: str) -> tuple[str, Any, Any]:
    """Return a method's path, what serialises its requests, and what makes its answers from bytes."""
    name = _NAMES.get(method, method)
    answer = getattr(messages, f"{name}Response")
    return f"/etcdserverpb.{_SERVICES[method]}/{method}", _serialized, answer.FromString


def _serialized(request: Any) -> bytes:  # noqa: ANN401  (a message, or one that is bytes already)
    return request if isinstance(request, bytes) else request.SerializeToString()


class Member:
    """A member that may be asked.

    Args:
        endpoint: Its ``HOST:PORT``.
        files: TLS with these; plain text when None.
    """

    def __init__(self, endpoint: str, files: Files | None) -> None:
        self.endpoint = endpoint
        self._files = files
        self._content: tuple[bytes | None, ...] = ()
        self._channel: Any = None
        self._calls: dict[str, Any] = {}
        self._asked = 0
        self._heard = 0.0

    def __repr__(self) -> str:
        """Show the endpoint."""
        return f"<Member {self.endpoint}>"

    async def open(self) -> None:
        """Make the channel; it connects when it is asked for."""
        if self._files is None:
            self._channel = grpc.aio.insecure_channel(self.endpoint, options=OPTIONS)
        else:
            await self.renew()

    async def renew(self) -> None:
        """Make a new channel when the files of TLS have changed."""
        if self._files is None:
            return
        content = await asyncio.to_thread(self._files.read)
        if content != self._content:
            old, self._content = self._channel, content
            self._calls.clear()
            self._channel = grpc.aio.secure_channel(
                self.endpoint, grpc.ssl_channel_credentials(*content), options=OPTIONS
            )
            if old is not None:
                await old.close()

    async def aclose(self, wait: float) -> None:
        """Close the channel; calls under way have `wait` seconds."""
        if self._channel is not None:
            await self._channel.close(wait)

    def call(self, method: str) -> Any:  # noqa: ANN401  (grpc publishes no types)
        """Return what calls a method."""
        call = self._calls.get(method)
        if call is None:
            path, take, give = described(method)
            make = self._channel.stream_stream if method == "Watch" else self._channel.unary_unary
            call = self._calls[method] = make(path, request_serializer=take, response_deserializer=give)
        return call

    def ask(self, now: float) -> None:
        """Note that a write waits for an answer."""
        if not self._asked:
            self._heard = now
        self._asked += 1

    def answer(self, now: float) -> None:
        """Note that one waits no more."""
        self._heard = now
        self._asked -= 1

    def silent(self, now: float) -> float:
        """Return how long writes have been waiting without any being answered."""
        return now - self._heard if self._asked else 0.0

    def stands(self) -> bool:
        """Tell whether the channel is connected; if not, it begins to."""
        return self._channel.get_state(try_to_connect=True) is grpc.ChannelConnectivity.READY

    async def ready(self, end: float) -> bool:
        """Tell whether the channel gets connected until `end` (on the loop's clock)."""
        loop, pause = asyncio.get_running_loop(), _LOOK[0]
        while True:
            # Looked at, not waited for: a wait for a change of state cannot be cancelled without harm.
            state = self._channel.get_state(try_to_connect=True)
            if state is grpc.ChannelConnectivity.READY:
                return True
            left = end - loop.time()
            if left <= 0 or state in (grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN):
                return False
            await asyncio.sleep(min(pause, left))
            pause = min(2 * pause, _LOOK[1])
