"""Store URLs: ``scheme:rest?option=value&…`` taken apart, without knowing any backend."""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from coordstore.errors import InvalidArgument

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = ["StoreURL"]

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*):(.*)", re.DOTALL)
_BOOLEANS = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


class StoreURL(NamedTuple):
    """A store URL in parts.

    Args:
        scheme: What chooses the backend.
        rest: All between the scheme and the options, as it was written.
        options: The options of the URL and those given beside it (which win).
    """

    scheme: str
    rest: str
    options: Mapping[str, Any] = MappingProxyType({})

    @classmethod
    def parse(cls, url: object, **options: object) -> StoreURL:
        """Take a URL apart.

        Raises:
            InvalidArgument: It has no scheme, or an option has no value or stands twice.
        """
        match = _SCHEME.fullmatch(url) if isinstance(url, str) else None
        if match is None:
            message = f"{url!r} is no store URL: write sqlite:PATH, file:PATH or etcd://HOST:PORT/PREFIX"
            raise InvalidArgument(message)
        scheme, tail = match.groups()
        rest, _, query = tail.partition("?")
        found: dict[str, Any] = {}
        for part in filter(None, query.split("&")):
            name, equals, value = part.partition("=")
            if not equals or name in found:
                message = f"option {part!r} in {url!r}: write each option once, as name=value"
                raise InvalidArgument(message)
            found[name] = value
        return cls(scheme, rest, {**found, **options})

    @property
    def path(self) -> Path:
        """The rest as an absolute path; ``//`` before an absolute path is accepted, ``~`` is the home.

        Raises:
            InvalidArgument: There is none.
        """
        text = self.rest
        text = text[2:] if text.startswith("///") else text
        if not text or "\0" in text:
            message = f"{self.scheme}: needs a path behind it, as {self.scheme}:/some/where"
            raise InvalidArgument(message)
        return Path(text).expanduser().absolute()

    def check_options(self, known: Collection[str]) -> None:
        """Refuse options that the backend does not have.

        Raises:
            InvalidArgument: There are such; the known ones are named.
        """
        unknown = sorted(set(self.options) - set(known))
        if unknown:
            message = (
                f"{self.scheme}: has no option {', '.join(unknown)}; it knows {', '.join(sorted(known)) or 'none'}"
            )
            raise InvalidArgument(message)

    def choice(self, name: str, allowed: Collection[str], default: str) -> str:
        """Return an option that is one of several words.

        Raises:
            InvalidArgument: It is another one.
        """
        value = str(self.options.get(name, default))
        if value in allowed:
            return value
        message = f"option {name}={value}: it is one of {', '.join(allowed)}"
        raise InvalidArgument(message)

    def flag(self, name: str) -> bool:
        """Return an option that is on or off (off by default).

        Raises:
            InvalidArgument: It is neither.
        """
        value = self.options.get(name, False)
        if isinstance(value, bool):
            return value
        if str(value).lower() in _BOOLEANS:
            return _BOOLEANS[str(value).lower()]
        message = f"option {name}={value}: it is 1 or 0"
        raise InvalidArgument(message)
