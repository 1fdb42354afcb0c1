"""Finds plugins by entry point, keeps the registries of schemes and commands, and opens stores by URL."""

from __future__ import annotations

import functools
import importlib
import os
import re
import sys
from contextlib import asynccontextmanager
from importlib.machinery import PathFinder
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import pluggy

from coordstore import hookspecs
from coordstore.errors import CoordError, InvalidArgument
from coordstore.url import StoreURL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    import click

    from coordstore.store import CoordStore

__all__ = [
    "GROUP",
    "PluginError",
    "Registered",
    "Registry",
    "backends",
    "checkups",
    "commands",
    "examinations",
    "load",
    "open_store",
    "plugin_manager",
]

GROUP = "coordstore"
"""The entry point group that plugins register under."""

Target = TypeVar("Target")

_ENTRY = re.compile(r"\s*([^\s=#;][^=]*?)\s*=\s*([\w.]+(?::[\w.]+)?)")


class PluginError(CoordError, RuntimeError):
    """A plugin cannot be loaded, or two of them claim the same name."""

    hint: ClassVar[str] = "Remove or repair the distribution that is named: pip uninstall NAME."


class Registered(NamedTuple, Generic[Target]):
    """A name that a plugin registered, what stands behind it, one line for people, and the distribution it is from."""

    name: str
    target: Target
    summary: str
    distribution: str = "coordstore"


class Registry(Generic[Target]):
    """Names of one kind, each registered once.

    Args:
        what: The kind, for messages.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self.found: dict[str, Registered[Target]] = {}
        self.distribution = "coordstore"

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
        self.found[name] = Registered(name, target, summary, self.distribution)


class _Entry(NamedTuple):
    """One entry point of the group, and the distribution that has it."""

    name: str
    target: str
    distribution: str


def load(target: str) -> Any:  # noqa: ANN401  (whatever the plugin put there)
    """Import what a target, ``module`` or ``module:attribute``, names."""
    module, _, attribute = target.partition(":")
    found = importlib.import_module(module)
    return attrgetter(attribute)(found) if attribute else found


def _entries() -> list[_Entry]:
    """Return the group's entry points of all installed distributions, the first of each distribution on the path.

    `importlib.metadata` gives the same, but its import alone costs more than the rest of a cold start: so it is
    asked only when something other than folders of files may hold distributions.
    """
    unusual = any(hasattr(finder, "find_distributions") and finder is not PathFinder for finder in sys.meta_path)
    if unusual or any(os.path.isfile(folder) for folder in sys.path):  # noqa: PTH113  (a string compared, not a path made)
        return list(_entries_by_metadata())
    found: dict[str, list[_Entry]] = {}
    for folder in sys.path:
        for name, file in _distributions(folder or "."):
            found.setdefault(name, _entries_in(name, file))
    return [entry for entries in found.values() for entry in entries]


def _entries_by_metadata() -> Iterator[_Entry]:
    from importlib.metadata import entry_points

    for entry in entry_points(group=GROUP):
        yield _Entry(entry.name, entry.value.partition("[")[0].strip(), entry.dist.name if entry.dist else "?")


def _distributions(folder: str) -> Iterator[tuple[str, Path]]:
    """Yield the distributions that a folder of the import path holds, each with its file of entry points."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        return  # the import system, too, passes over what cannot be read
    for name in names:
        distribution = re.sub(r"[-_.]+", "-", name.rpartition(".")[0].partition("-")[0]).lower()
        yield distribution, Path(folder, name, "entry_points.txt")


def _entries_in(distribution: str, file: Path) -> list[_Entry]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []  # most distributions have none
    _, found, section = text.partition(f"[{GROUP}]")
    if not found:
        return []
    lines = re.split(r"^\s*\[", section, maxsplit=1, flags=re.MULTILINE)[0].splitlines()
    matches = (_ENTRY.match(line) for line in lines)
    return [_Entry(match[1], match[2], distribution) for match in matches if match]


@functools.cache
def plugin_manager() -> pluggy.PluginManager:
    """Return the plugin manager with every installed plugin loaded; the same one at each call.

    Raises:
        PluginError: A plugin failed to import; its distribution is named.
    """
    manager = pluggy.PluginManager(GROUP)
    manager.add_hookspecs(hookspecs)
    for entry in sorted(_entries()):
        try:
            manager.register(load(entry.target), f"{entry.distribution}:{entry.name}")
        except Exception as error:
            message = (
                f"plugin {entry.name!r} of {entry.distribution} cannot be loaded ({error}):"
                " repair or remove that distribution"
            )
            raise PluginError(message) from error
    return manager


def _collect(hook: str, registry: Registry[Target]) -> Mapping[str, Registered[Target]]:
    """Let each plugin register by itself, so that it is known whose each name is."""
    manager = plugin_manager()
    plugins = manager.list_name_plugin()
    for name, plugin in plugins:
        registry.distribution = name.partition(":")[0]
        others = [other for _, other in plugins if other is not plugin]
        manager.subset_hook_caller(hook, others)(register=registry)
    return registry.found


def backends() -> Mapping[str, Registered[str]]:
    """Return the registered backends by scheme; the target is their opener, ``module:function``."""
    registry: Registry[str] = Registry("scheme")
    registry("memory", "coordstore.testing.memory:open_memory", summary="in this process's memory, for tests")
    return _collect("register_backends", registry)


def checkups() -> Mapping[str, Registered[str]]:
    """Return what `coord doctor` looks at beyond the contract, ``module:function`` by scheme."""
    registry: Registry[str] = Registry("check-up of scheme")
    return _collect("register_checkups", registry)


def examinations() -> Mapping[str, Registered[str]]:
    """Return what `coord doctor` looks at in the whole installation, ``module:function`` by name."""
    registry: Registry[str] = Registry("examination")
    return _collect("register_examinations", registry)


def commands() -> Mapping[str, Registered[str | click.Command]]:
    """Return the commands that plugins add to `coord`, by name."""
    registry: Registry[str | click.Command] = Registry("command")
    return _collect("register_commands", registry)


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
    async with await load(known[parsed.scheme].target)(parsed) as store:
        yield store
