"""Which reviewers and forges there are, and how one is made."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, cast

from coordstore.errors import InvalidArgument
from coordstore.plugins import Registry, load
from coordstore_orchestrator.registering import with_hooks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import pluggy

    from coordstore_orchestrator.review.model import Forge, Reviewer, Tools

__all__ = ["check_names", "forges", "make_forge", "make_reviewer", "reviewers"]


@functools.cache
def _plugins() -> pluggy.PluginManager:
    from coordstore_orchestrator.review import builtin, hookspecs

    return with_hooks(hookspecs, builtin, "coordstore:reviews")


def reviewers() -> Mapping[str, str]:
    """Return what makes each reviewer, by name.

    Raises:
        PluginError: Two plugins claim one name.
    """
    registry: Registry[str] = Registry("reviewer")
    _plugins().hook.register_reviewers(register=registry)
    return {name: found.target for name, found in registry.found.items()}


def forges() -> Mapping[str, str]:
    """Return what makes each forge, by name.

    Raises:
        PluginError: Two plugins claim one name.
    """
    registry: Registry[str] = Registry("forge")
    _plugins().hook.register_forges(register=registry)
    return {name: found.target for name, found in registry.found.items()}


def check_names(reviewer: str, forge: str, profiles: Collection[str]) -> None:
    """Refuse names that nobody has.

    Args:
        reviewer: A reviewer's name, or an agent profile's.
        forge: A forge's name.
        profiles: The names of the agent profiles.

    Raises:
        InvalidArgument: There is no such reviewer, or no such forge; the message lists those there are.
    """
    if reviewer not in reviewers() and reviewer.partition(":")[0] not in profiles:
        names = ", ".join([*sorted(reviewers()), *sorted(profiles)])
        message = f"no reviewer {reviewer!r}: there are {names}"
        raise InvalidArgument(message)
    if forge not in forges():
        message = f"no forge {forge!r}: there are {', '.join(sorted(forges()))}"
        raise InvalidArgument(message)


def make_reviewer(name: str, tools: Tools) -> Reviewer:
    """Return a reviewer by its name, or by that of an agent profile.

    Raises:
        InvalidArgument: There is none.
    """
    check_names(name, "local", tools.profiles)
    maker = reviewers().get(name)
    if maker is not None:
        return cast("Reviewer", load(maker)(tools))
    from coordstore_orchestrator.agents import resolve_agent
    from coordstore_orchestrator.review.reviewers import AgentReviewer

    return AgentReviewer(tools, name, resolve_agent(name, tools.profiles))


def make_forge(name: str, tools: Tools) -> Forge:
    """Return a forge by its name.

    Raises:
        InvalidArgument: There is none, or it cannot be used here; the message says what is missing.
    """
    check_names("person", name, tools.profiles)
    return cast("Forge", load(forges()[name])(tools))
