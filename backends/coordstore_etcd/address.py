"""Where a store lies and how to get there: an ``etcd:`` URL taken apart; secrets stay out of all that is shown."""

from __future__ import annotations

import ipaddress
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from coordstore.errors import InvalidArgument, InvalidKey, Unavailable
from coordstore.names import check_key

if TYPE_CHECKING:
    from coordstore.url import StoreURL

__all__ = ["Address", "Credentials", "Files"]

OPTIONS: Final = ("ca", "cert", "key", "insecure", "credentials", "compaction", "create", "durability", "timeout")
PREFIX_MAX: Final = 128
_HOST_PORT: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+):(\d{1,5})")
_TIMEOUT: Final = "10"
_USER: Final = "COORD_ETCD_USER"
_PASSWORD: Final = "COORD_ETCD_PASSWORD"  # noqa: S105  (a variable's name)


@dataclass(frozen=True, slots=True)
class Files:
    """The files of TLS, read anew for every connection, so that renewed certificates are taken up.

    Args:
        ca: Certificates to trust; the system's when None.
        cert: This client's certificate.
        key: Its private key.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def read(self) -> tuple[bytes | None, bytes | None, bytes | None]:
        """Return their contents as grpc takes them: roots, key, certificate chain; blocks.

        Raises:
            Unavailable: One cannot be read.
        """
        return _content(self.ca), _content(self.key), _content(self.cert)


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user and a password; neither is shown."""

    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Address:
    """A store in a cluster.

    Args:
        endpoints: ``HOST:PORT`` of the members, in the order they are tried.
        prefix: Under which all keys of the store lie.
        files: TLS with these; plain text when None.
        credentials_file: Where user and password are read, when not from the environment.
        own_compaction: Whether `compact` may compact the cluster.
        timeout: Seconds after which a call gives up.
        create: Whether a store is made where there is none.
    """

    endpoints: tuple[str, ...]
    prefix: str
    files: Files | None = None
    credentials_file: Path | None = None
    own_compaction: bool = False
    timeout: float = 10.0
    create: bool = True

    def __str__(self) -> str:
        """Return the URL without options."""
        return f"etcd://{','.join(self.endpoints)}/{self.prefix}"

    @classmethod
    def of(cls, url: StoreURL) -> Address:
        """Take a URL apart.

        Raises:
            InvalidArgument: It names no endpoint or prefix, or an option is wrong.
        """
        url.check_options(OPTIONS)
        url.choice("durability", ("full", "process"), "full")
        endpoints, prefix = _place(url.rest)
        credentials = url.options.get("credentials")
        return cls(
            endpoints,
            prefix,
            _files(url, endpoints),
            Path(str(credentials)).expanduser() if credentials else None,
            url.choice("compaction", ("own", "none"), "none") == "own",
            _seconds(url),
            str(url.options.get("create", "1")).lower() not in ("0", "no", "false"),
        )

    def credentials(self) -> Credentials | None:
        """Return user and password from the file or the environment, None when there are none; blocks.

        Raises:
            InvalidArgument: A user without a password, or a file that does not hold ``user:password``.
            Unavailable: The file cannot be read, or others than its owner can read it.
        """
        if self.credentials_file is not None:
            return _from_file(self.credentials_file)
        user, password = os.environ.get(_USER), os.environ.get(_PASSWORD)
        if user and password:
            return Credentials(user, password)
        if user or password:
            message = f"{_USER} and {_PASSWORD} are set both or not at all"
            raise InvalidArgument(message)
        return None


def _place(rest: str) -> tuple[tuple[str, ...], str]:
    hosts, _, prefix = rest.removeprefix("//").partition("/")
    if "@" in hosts:
        # The text is not repeated: it may hold a password.
        message = f"an etcd URL holds no user or password: set {_USER} and {_PASSWORD}, or credentials=FILE"
        raise InvalidArgument(message)
    endpoints = tuple(hosts.split(","))
    if not rest.startswith("//") or not all(map(_is_endpoint, endpoints)):
        message = f"etcd:{rest} names no endpoints: write etcd://HOST:PORT[,HOST:PORT…]/PREFIX"
        raise InvalidArgument(message)
    try:
        check_key(prefix, "prefix")
    except InvalidKey as error:
        message = f"etcd:{rest} needs a prefix, so that several stores fit into a cluster: {error}"
        raise InvalidArgument(message) from error
    if len(prefix) > PREFIX_MAX:
        message = f"the prefix in etcd:{rest} is longer than {PREFIX_MAX} bytes"
        raise InvalidArgument(message)
    return endpoints, prefix


def _is_endpoint(text: str) -> bool:
    match = _HOST_PORT.fullmatch(text)
    return match is not None and 0 < int(match[2]) < 65536  # noqa: PLR2004  (ports)


def _files(url: StoreURL, endpoints: tuple[str, ...]) -> Files | None:
    paths = {name: Path(str(url.options[name])).expanduser() for name in ("ca", "cert", "key") if name in url.options}
    if ("cert" in paths) != ("key" in paths):
        message = "options cert= and key= come together: the client's certificate and its private key"
        raise InvalidArgument(message)
    if paths and url.flag("insecure"):
        message = "insecure=1 means plain text: leave out ca=, cert= and key=, or insecure"
        raise InvalidArgument(message)
    if not paths and (url.flag("insecure") or all(map(_is_loopback, endpoints))):
        return None
    return Files(**paths)


def _is_loopback(endpoint: str) -> bool:
    host = endpoint.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _seconds(url: StoreURL) -> float:
    value = url.options.get("timeout", _TIMEOUT)
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if 0.1 <= seconds <= 3600:  # noqa: PLR2004  (an hour)
        return seconds
    message = f"option timeout={value}: it is seconds, from 0.1 to 3600"
    raise InvalidArgument(message)


def _content(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        message = f"{path} cannot be read ({error.strerror}): TLS needs it"
        raise Unavailable(message) from error


def _from_file(path: Path) -> Credentials:
    try:
        mode, text = stat.S_IMODE(path.stat().st_mode), path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read: credentials= names a file with user:password in it"
        raise Unavailable(message) from error
    if mode & 0o077:
        message = f"{path} is open to others: chmod 600 it, for it holds a password"
        raise Unavailable(message)
    user, _, password = text.strip().partition(":")
    if not user or not password:
        message = f"{path} does not hold user:password"
        raise InvalidArgument(message)
    return Credentials(user, password)
