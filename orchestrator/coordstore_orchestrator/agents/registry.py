"""Which agents there are, and which one a plan means."""

from __future__ import annotations

import difflib
import functools
from dataclasses import replace
from typing import TYPE_CHECKING, ClassVar, Protocol

from coordstore.errors import CoordError, InvalidArgument
from coordstore_orchestrator.agents.profile import Profile
from coordstore_orchestrator.registering import add_once, with_hooks

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import pluggy

__all__ = ["CommandRef", "UnknownProfile", "agent_plugins", "chain", "known_profiles", "plain_profile", "resolve_agent"]


class UnknownProfile(CoordError, LookupError):
    """No agent profile has that name; the message lists those there are."""

    hint: ClassVar[str] = "`coord profiles list` shows those that there are; others come by configuration or plugin."


class CommandRef(Protocol):
    """A reference to an agent by its command line, as a plan holds it."""

    @property
    def command(self) -> Sequence[str]:
        """The command, the program first."""


def known_profiles() -> dict[str, Profile]:
    """Return all profiles by name: those of coord, then those of plugins.

    Raises:
        PluginError: A plugin cannot be loaded.
        InvalidArgument: Two profiles have the same name.
    """
    found: dict[str, Profile] = {}

    def register(profile: Profile) -> None:
        add_once(found, "an agent profile", profile.name, profile)

    agent_plugins().hook.register_profiles(register=register)
    return dict(sorted(found.items()))


def plain_profile(command: Sequence[str]) -> Profile:
    """Return a profile that runs a command as it is, with the prompt on its stdin."""
    return Profile(name="command", argv=tuple(command), verbatim=True)


def resolve_agent(
    reference: str | Mapping[str, Sequence[str]] | CommandRef, profiles: Mapping[str, Profile]
) -> Profile:
    """Return the profile that a plan means.

    Args:
        reference: A profile's name, ``PROFILE:MODEL``, or ``{command: [argv…]}``.
        profiles: The profiles by name.

    Raises:
        UnknownProfile: There is none of that name.
        InvalidArgument: The reference is neither, or its command is empty, or the profile does not take the model.
    """
    if isinstance(reference, str):
        name, colon, model = reference.partition(":")
        if name not in profiles:
            raise UnknownProfile(_unknown(name, profiles))
        return replace(profiles[name], model=model) if colon else profiles[name]
    command = reference.get("command") if hasattr(reference, "get") else getattr(reference, "command", None)
    if isinstance(command, str) or not command or not all(isinstance(part, str) for part in command):
        message = f"agent {reference!r}: give a profile's name or {{command: [program, argument, …]}}"
        raise InvalidArgument(message)
    return plain_profile(command)


def chain(reference: object, default: object, profiles: Mapping[str, Profile]) -> Iterator[Profile]:
    """Yield the profile that is asked for, those of its fall-back chain, then the session's own; each once.

    Args:
        reference: The task's agent, or None.
        default: The session's agent.
        profiles: Profiles by name.

    Raises:
        UnknownProfile: There is none of that name.
        InvalidArgument: The reference is none.
    """
    seen: list[Profile] = []
    waiting = [resolve_agent(each, profiles) for each in (reference, default) if each is not None]  # type: ignore[arg-type]  # checked there
    while waiting:
        profile = waiting.pop(0)
        if profile not in seen:
            seen.append(profile)
            yield profile
            waiting = [*(resolve_agent(name, profiles) for name in profile.fallback), *waiting]


def _unknown(name: str, profiles: Mapping[str, Profile]) -> str:
    close = difflib.get_close_matches(name, profiles, n=1)
    guess = f"; did you mean {close[0]!r}?" if close else ""
    return f"no agent profile {name!r}: there are {', '.join(sorted(profiles))}; any command is {{command: […]}}{guess}"


@functools.cache
def agent_plugins() -> pluggy.PluginManager:
    """Return the library's plugin manager, which knows our hooks from here on."""
    from coordstore_orchestrator.agents import builtin, hookspecs

    return with_hooks(hookspecs, builtin, "coordstore:profiles")
