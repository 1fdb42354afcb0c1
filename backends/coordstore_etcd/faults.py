"""What etcd's and gRPC's errors mean for a request: lost, certainly refused, or to be tried elsewhere.

Only an answer that etcd gives before it proposes a write, or when applying refuses it, proves that nothing was
done. All else (a connection cut, a deadline, etcd's own "request timed out") leaves a write's outcome open.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Final

import grpc

from coordstore.errors import Corrupt, Unavailable

if TYPE_CHECKING:
    from coordstore.errors import CoordError

__all__ = [
    "AuthenticationOff",
    "Compacted",
    "FutureRevision",
    "LeaseExists",
    "LeaseGone",
    "Meaning",
    "meaning",
    "refusal",
]


class Meaning(Enum):
    """What to do about an error."""

    LOST = "whether it was done is not known"
    ELSEWHERE = "not done, another member may"
    TOKEN = "not done, the token is no longer good, or there was none"  # noqa: S105  (a sentence)
    REFUSED = "not done, and asking again does not help"


class Compacted(Exception):
    """The revision asked for has been compacted away.

    Args:
        revision: Up to where, when etcd told.
    """

    def __init__(self, revision: int = 0) -> None:
        super().__init__(revision)
        self.revision = revision


class FutureRevision(Exception):
    """The revision asked for is ahead of the cluster's."""


class LeaseGone(Exception):
    """There is no such lease."""


class LeaseExists(Exception):
    """There is such a lease already."""


class AuthenticationOff(Exception):
    """The cluster asks nobody for a password."""


_OURS: Final = "etcdserver: "
_ELSEWHERE: Final = frozenset(("no leader", "rpc not supported for learner", "too many requests"))
_TOKEN: Final = frozenset(("invalid auth token", "revision of auth store is old", "user name is empty"))
_EVENTS: Final[dict[str, type[Exception]]] = {
    "mvcc: required revision has been compacted": Compacted,
    "mvcc: required revision is a future revision": FutureRevision,
    "requested lease not found": LeaseGone,
    "lease already exists": LeaseExists,
    "authentication is not enabled": AuthenticationOff,
}
_NOT_DONE: Final = frozenset(
    (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.PERMISSION_DENIED,
        grpc.StatusCode.UNAUTHENTICATED,
        grpc.StatusCode.UNIMPLEMENTED,
        grpc.StatusCode.DATA_LOSS,
    )
)
_SENTENCES: Final = {
    "mvcc: database space exceeded": "etcd's database has reached its quota (NOSPACE): not applied; compact and "
    "defragment it, then disarm the alarm: etcdctl alarm disarm",
    "permission denied": "etcd refused this user: not applied; grant its role readwrite on the store's prefix",
    "user name is empty": "etcd asks for a user: set COORD_ETCD_USER and COORD_ETCD_PASSWORD, or credentials=FILE",
    "authentication failed, invalid user ID or password": "etcd refused the user or the password",
}


def _said(error: grpc.aio.AioRpcError) -> str | None:
    """Return what etcd itself said; None when the error comes from gRPC."""
    details = error.details() or ""
    return details.removeprefix(_OURS) if details.startswith(_OURS) else None


def meaning(error: grpc.aio.AioRpcError) -> Meaning:
    """Tell what an error means for the request."""
    said = _said(error)
    if said in _ELSEWHERE:
        return Meaning.ELSEWHERE
    if said in _TOKEN:
        return Meaning.TOKEN
    code = error.code()
    if code in _NOT_DONE or (code is grpc.StatusCode.RESOURCE_EXHAUSTED and said is not None):
        return Meaning.REFUSED
    return Meaning.LOST


def refusal(error: grpc.aio.AioRpcError) -> Exception:
    """Return what to raise for a request that was refused."""
    said = _said(error) or error.details() or error.code().name
    if said in _EVENTS:
        return _EVENTS[said]()
    return _error(error, said)


def _error(error: grpc.aio.AioRpcError, said: str) -> CoordError:
    if error.code() is grpc.StatusCode.DATA_LOSS:
        return Corrupt(f"etcd says that its data is damaged ({said}): see to the cluster first")
    return Unavailable(_SENTENCES.get(said) or f"etcd refused the request: {said}")
