"""Gateway: raw access to an etcd through its JSON gateway, past the backend, so that what it did is checked apart."""

from __future__ import annotations

import base64
import json
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import ssl

__all__ = ["Gateway", "GatewayError"]

PATIENCE: Final = 10.0


class GatewayError(Exception):
    """The server answered with an error; its text says which."""


def coded(data: bytes | str) -> str:
    """Return bytes as the gateway writes them."""
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def end_of(prefix: bytes) -> bytes:
    """Return the first key that does not begin with the prefix."""
    return prefix[:-1] + bytes([prefix[-1] + 1]) if prefix else b"\0"


class Gateway:
    """One etcd member's JSON gateway.

    Args:
        url: ``http://HOST:PORT``, or https with a context.
        context: Which certificates to trust and to show.
        patience: Seconds that one call may take.
    """

    def __init__(self, url: str, context: ssl.SSLContext | None = None, patience: float = PATIENCE) -> None:
        self.url = url
        self._patience = patience
        self.token = ""
        handlers: list[Any] = [urllib.request.ProxyHandler({})]
        handlers += [urllib.request.HTTPSHandler(context=context)] if context else []
        self._opener = urllib.request.build_opener(*handlers)

    def call(self, path: str, /, **fields: object) -> dict[str, Any]:
        """Call ``/v3/PATH`` and return the answer."""
        headers = {"Authorization": self.token} if self.token else {}
        request = urllib.request.Request(f"{self.url}/v3/{path}", json.dumps(fields).encode(), headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._patience) as answer:
                found: dict[str, Any] = json.loads(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                raise GatewayError(error.read().decode()) from error
        return found

    def put(self, key: str | bytes, value: str | bytes, lease: int = 0) -> int:
        """Put a key; return the revision."""
        return int(self.call("kv/put", key=coded(key), value=coded(value), lease=lease)["header"]["revision"])

    def range(self, prefix: str | bytes = b"") -> dict[bytes, bytes]:
        """Return the keys under a prefix with their values."""
        raw = prefix.encode() if isinstance(prefix, str) else prefix
        found = self.call("kv/range", key=coded(raw or b"\0"), range_end=coded(end_of(raw)))
        decode = base64.b64decode
        return {decode(each["key"]): decode(each.get("value", "")) for each in found.get("kvs", [])}

    def delete(self, prefix: str | bytes) -> int:
        """Delete what lies under a prefix; return how many keys that were."""
        raw = prefix.encode() if isinstance(prefix, str) else prefix
        found = self.call("kv/deleterange", key=coded(raw or b"\0"), range_end=coded(end_of(raw)))
        return int(found.get("deleted", 0))

    def revision(self) -> int:
        """Return the store's revision."""
        return int(self.call("kv/range", key=coded("\0"), limit=1)["header"]["revision"])

    def compact(self, revision: int | None = None) -> int:
        """Forget what is older than a revision, by default all that can be; return it."""
        upto = self.revision() if revision is None else revision
        self.call("kv/compaction", revision=upto, physical=True)
        return upto

    def status(self) -> dict[str, Any]:
        """Return the member's status: leader, dbSize, raftTerm …"""
        return self.call("maintenance/status")

    def alarms(self) -> list[str]:
        """Return the alarms that are raised."""
        return [each["alarm"] for each in self.call("maintenance/alarm", action="GET").get("alarms", [])]

    def disarm(self) -> None:
        """Put out every alarm."""
        for each in self.call("maintenance/alarm", action="GET").get("alarms", []):
            self.call("maintenance/alarm", action="DEACTIVATE", alarm=each["alarm"], memberID=each["memberID"])

    def defragment(self) -> None:
        """Give the space of what was compacted back."""
        self.call("maintenance/defragment")

    def leases(self) -> list[int]:
        """Return the ids of the leases there are."""
        return [int(each["ID"]) for each in self.call("kv/lease/leases").get("leases", [])]

    def log_in(self, user: str, password: str) -> None:
        """Show this user's token from now on."""
        self.token = self.call("auth/authenticate", name=user, password=password)["token"]

    def add_user(self, user: str, password: str, prefix: str) -> None:
        """Make a user who may read and write what lies under a prefix, and nothing else."""
        raw = prefix.encode()
        allowed = {"permType": "READWRITE", "key": coded(raw), "range_end": coded(end_of(raw))}
        self.call("auth/role/add", name=user)
        self.call("auth/role/grant", name=user, perm=allowed)
        self.call("auth/user/add", name=user, password=password)
        self.call("auth/user/grant", user=user, role=user)

    def require_passwords(self, root_password: str) -> None:
        """Switch authentication on and log in as root."""
        self.call("auth/user/add", name="root", password=root_password)
        self.call("auth/role/add", name="root")
        self.call("auth/user/grant", user="root", role="root")
        self.call("auth/enable")
        self.log_in("root", root_password)
