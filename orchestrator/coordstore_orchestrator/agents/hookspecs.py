"""What a plugin can add to the agents that plans can name, and to how they are understood: one hook, one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from coordstore.hookspecs import hookspec

if TYPE_CHECKING:
    from coordstore_orchestrator.agents.profile import Profile

__all__ = ["RegisterOutput", "RegisterProfile", "register_outputs", "register_profiles"]


class RegisterProfile(Protocol):
    """The callable that `register_profiles` receives."""

    def __call__(self, profile: Profile) -> None:
        """Register a profile under its name."""


class RegisterOutput(Protocol):
    """The callable that `register_outputs` receives."""

    def __call__(self, name: str, reader: str) -> None:
        """Register ``module:class`` (a `Reader`, imported at the first use) for the output format of that name."""


@hookspec
def register_profiles(register: RegisterProfile) -> None:
    """Register agent profiles."""


@hookspec
def register_outputs(register: RegisterOutput) -> None:
    """Register readers of agents' output formats."""
