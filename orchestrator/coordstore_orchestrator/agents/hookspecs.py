"""What a plugin can add to the agents that plans can name: one hook, one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from coordstore.hookspecs import hookspec

if TYPE_CHECKING:
    from coordstore_orchestrator.agents.profile import Profile

__all__ = ["RegisterProfile", "register_profiles"]


class RegisterProfile(Protocol):
    """The callable that `register_profiles` receives."""

    def __call__(self, profile: Profile) -> None:
        """Register a profile under its name."""


@hookspec
def register_profiles(register: RegisterProfile) -> None:
    """Register agent profiles."""
