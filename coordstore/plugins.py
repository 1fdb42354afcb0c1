"""Finds plugins by entry point, keeps the registries of schemes and commands, and opens stores by URL."""

from __future__ import annotations

import functools
import pkgutil
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Generic, TypeVar

import pluggy

from coordstore import hookspecs
from coordstore.errors import CoordError, InvalidArgument
from coordstore.url import StoreURL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import click

    from coordstore.store import CoordStore

__all__ = ["GROUP", "PluginError", "Registered", "Registry", "backends", "commands", "open_store", "plugin_manager"]

GROUP = "coordstore"
"""The entry point group that plugins register under."""

Target = TypeVar("Target")


class PluginError(CoordError, RuntimeError):
    """A plugin cannot be loaded, or two of them claim the same name."""


@dataclass(frozen=True, slots=True)
class Registered(Generic[Target]):
    """A name that a plugin registered, what stands behind it, and one line for people."""

    name: str
    target: Target
    summary: str


class Registry(Generic[Target]):
    """Names of one kind, each registered once.

    Args:
        what: The kind, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.found: dict[str, Registered[Target]] = {}

    def __call__(self, name: str, target: Target, *, summary: str) -> None:
        """Register a name.

        Raises:
            PluginError: Another plugin has it already.
        """
        if name in self.found:
            message = (
                f"two plugins claim the {self._what} {name!r} ({self.found[name].target} and {target}): remove one"
            )
            raise PluginError(message)
        self.found[name] = Registered(name, target, summary)


@functools.cache
def plugin_manager() -> pluggy.PluginManager:
    """Return the plugin manager with every installed plugin loaded; the same one at each call.

    Raises:
        PluginError: A plugin failed to import; its distribution is named.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            manager.register(entry.load(), entry.name)
        except Exception as error:
            owner = entry.dist.name if entry.dist else "?"
            message = f"plugin {entry.name!r} of {owner} cannot be loaded ({error}): repair or remove that distribution"
            raise PluginError(message) from error
    return manager


def backends() -> Mapping[str, Registered[str]]:
    """Return the registered backends by scheme; the target is their opener, ``module:function``."""
    registry: Registry[str] = Registry("scheme")
    registry("memory", "coordstore.testing.memory:open_memory", summary="in this process's memory, for tests")
    plugin_manager().hook.register_backends(register=registry)
    return registry.found


def commands() -> Mapping[str, Registered[str | click.Command]]:
    """Return the commands that plugins add to `coord`, by name."""
    registry: Registry[str | click.Command] = Registry("command")
    plugin_manager().hook.register_commands(register=registry)
    return registry.found


@asynccontextmanager
async def open_store(url: str, **options: object) -> AsyncIterator[CoordStore]:
    """Open the store that a URL names, for the time of an ``async with``.

    Args:
        url: ``sqlite:PATH``, ``file:PATH``, ``etcd://HOST:PORT,…/PREFIX`` or a plugin's scheme, with options
            behind a ``?``.
        options: The same options as keywords; they win over the URL's.

    Yields:
        The open handle; it is closed at the end, also on cancellation.

    Raises:
        InvalidArgument: The URL or an option is wrong; the message says how.
        Unavailable: The store cannot be reached.
        Unsupported: This machine or file system cannot carry that backend.
        VersionMismatch: The store was written by another format version.
        Corrupt: What lies there is no such store, or damaged.
    """
    parsed = StoreURL.parse(url, **options)
    known = backends()
    if parsed.scheme not in known:
        message = f"no backend for {parsed.scheme!r}: there are {', '.join(sorted(known))}; others come as plugins"
        raise InvalidArgument(message)
    opener = pkgutil.resolve_name(known[parsed.scheme].target)
    async with await opener(parsed) as store:
        yield store
