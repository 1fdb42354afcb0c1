"""What plugins register under names of their own kind: detectors, policies, planners, profiles, outputs, reviewers."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from coordstore.errors import InvalidArgument

if TYPE_CHECKING:
    from types import ModuleType

    import pluggy

__all__ = ["add_once", "with_hooks"]

Kind = TypeVar("Kind")


def add_once(found: dict[str, Kind], what: str, name: str, one: Kind) -> None:
    """Take in what was registered under a name.

    Args:
        found: Those that are known, by name.
        what: Their kind, for the message, as ``a detector``.
        name: The name.
        one: What was registered.

    Raises:
        InvalidArgument: The name is taken.
    """
    if name in found:
        message = f"two plugins have {what} {name!r}: rename or remove one of them"
        raise InvalidArgument(message)
    found[name] = one


def with_hooks(hooks: ModuleType, builtin: ModuleType, name: str) -> pluggy.PluginManager:
    """Return the library's plugin manager, which from here on knows some more hooks and what comes with coord."""
    from coordstore.plugins import plugin_manager  # pluggy is not wanted before anybody asks

    manager = plugin_manager()
    manager.add_hookspecs(hooks)
    manager.register(builtin, name)
    return manager
