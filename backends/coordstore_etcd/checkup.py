"""What `coord doctor` looks at in a cluster: members, versions, leader, size, alarms, certificates."""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import time
from typing import TYPE_CHECKING, Any, Final

from coordstore.checkup import Finding
from coordstore.checkup.host import refused
from coordstore.errors import CoordError, Unavailable
from coordstore_etcd.address import Address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from coordstore.url import StoreURL

__all__ = ["checkup"]

_PATIENCE: Final = 3.0
_SUPPORTED: Final = ((3, 5, 33), (3, 6, 14))
"""The oldest version of each minor one that has no known bug which strikes here."""
_QUOTA: Final = 2 * 1024**3
"""etcd's default, where it does not tell."""
_FULL: Final = 0.8
_MIB: Final = 1024**2
_SOON: Final = 14 * 24 * 3600.0
_ALARMS: Final = {
    1: (
        "NOSPACE: the database is full and every write is refused",
        "compact and defragment it, then disarm the alarm: etcdctl alarm disarm",
    ),
    2: ("CORRUPT: the members' data differ", "restore the member named, or the cluster, from a snapshot"),
}


def checkup(url: StoreURL) -> Iterator[Finding]:
    """Look at the cluster of a URL; blocks, for seconds when a member does not answer."""
    address = Address.of(url)
    try:
        asking = _Asking(address)
    except CoordError as error:
        yield refused("cluster", error)
        return
    answered = False
    for endpoint in address.endpoints:
        with asking.member(endpoint) as ask:
            try:
                status = ask("Status")
            except Unavailable as error:
                advice = "see whether it runs and can be reached; the store works as long as a majority does"
                yield Finding.problem(f"member {endpoint}", str(error), advice)
                continue
            yield from _member(endpoint, status)
            if not answered:
                yield from _alarms(ask)
            answered = True
        if address.files is not None:
            yield from _certificate(endpoint, address)


class _Asking:
    """Blocking calls: a checkup runs on a thread without an event loop."""

    def __init__(self, address: Address) -> None:
        self._address = address
        self._credentials = address.credentials()
        self._content = address.files.read() if address.files is not None else None

    @contextlib.contextmanager
    def member(self, endpoint: str) -> Iterator[Any]:
        """Give what asks a member: of (method), its answer."""
        import grpc

        from coordstore_etcd.faults import refusal
        from coordstore_etcd.member import OPTIONS, described
        from coordstore_etcd.messages import messages

        if self._content is None:
            channel = grpc.insecure_channel(endpoint, options=OPTIONS)
        else:
            channel = grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(*self._content), options=OPTIONS)

        metadata: list[tuple[str, str]] = []

        def call(method: str, **parts: object) -> Any:  # noqa: ANN401  (messages have no types)
            path, take, give = described(method)
            request = getattr(messages, f"{method}Request")(**parts)
            unary = channel.unary_unary(path, request_serializer=take, response_deserializer=give)
            try:
                return unary(request, timeout=_PATIENCE, metadata=metadata, wait_for_ready=True)
            except grpc.RpcError as error:
                known = refusal(error)
                text = f"no answer in {_PATIENCE:g} s" if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED else known
                raise Unavailable(str(text) or type(known).__name__) from error

        def ask(method: str) -> Any:  # noqa: ANN401  (likewise)
            if self._credentials is not None and not metadata:
                with contextlib.suppress(Unavailable):
                    user = self._credentials
                    metadata.append(("token", call("Authenticate", name=user.user, password=user.password).token))
            return call(method)

        with channel:
            yield ask


def _member(endpoint: str, status: Any) -> Iterator[Finding]:  # noqa: ANN401  (a message)
    where = f"member {endpoint}"
    if _is_old(status.version):
        advice = "upgrade it: 3.5.33 and 3.6.14 are the oldest without bugs that lose watched changes or leases"
        yield Finding.warning(where, f"etcd {status.version} is older than what is supported", advice)
    else:
        yield Finding.ok(where, f"etcd {status.version} answers")
    if not status.leader:
        yield Finding.problem(where, "it knows no leader", "see whether a majority of the members runs and can talk")
    quota = status.db_size_quota or _QUOTA
    told = "" if status.db_size_quota else ", if that is the default one"
    text = f"the database has {status.db_size / _MIB:,.0f} MiB of a quota of {quota / _MIB:,.0f} MiB{told}"
    if status.db_size > _FULL * quota:
        advice = "compact and defragment it, or raise --quota-backend-bytes: at the quota every write is refused"
        yield Finding.warning(where, text, advice)
    else:
        yield Finding.ok(where, text)


def _is_old(version: str) -> bool:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    if found is None:
        return False
    numbers = (int(found[1]), int(found[2]), int(found[3]))
    floors = [floor for floor in _SUPPORTED if floor[:2] == numbers[:2]]
    return numbers < (floors[0] if floors else min(_SUPPORTED))


def _alarms(ask: Any) -> Iterator[Finding]:  # noqa: ANN401  (a function)
    try:
        alarms = ask("Alarm").alarms
    except Unavailable as error:
        yield Finding.warning("alarms", f"they cannot be read: {error}", "look with a user who may: etcdctl alarm list")
        return
    for alarm in alarms:
        text, advice = _ALARMS.get(alarm.alarm, (f"alarm {alarm.alarm}", "see etcd's documentation"))
        yield Finding.problem("alarms", f"{text} (member {alarm.member_id:x})", advice)
    if not alarms:
        yield Finding.ok("alarms", "none is raised")


def _certificate(endpoint: str, address: Address) -> Iterator[Finding]:
    """Look when a member's certificate ends; that it cannot be verified, the calls have told."""
    files = address.files
    host, _, port = endpoint.rpartition(":")
    context = ssl.create_default_context(cafile=str(files.ca) if files is not None and files.ca else None)
    if files is not None and files.cert and files.key:
        context.load_cert_chain(files.cert, files.key)
    try:
        with (
            socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE) as raw,
            context.wrap_socket(raw, server_hostname=host.strip("[]")) as secured,
        ):
            shown = secured.getpeercert() or {}
    except OSError as error:
        yield Finding.problem(f"certificate of {endpoint}", str(error), "see to its name, its issuer and ca=")
        return
    left = ssl.cert_time_to_seconds(str(shown["notAfter"])) - time.time()
    text = f"it is good until {shown['notAfter']}"
    if left < _SOON:
        yield Finding.warning(f"certificate of {endpoint}", text, "renew it before: then no client can connect")
    else:
        yield Finding.ok(f"certificate of {endpoint}", text)
