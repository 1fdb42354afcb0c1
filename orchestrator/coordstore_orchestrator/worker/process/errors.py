"""What can go wrong between a worker and its agents' processes."""

from __future__ import annotations

from typing import ClassVar

from coordstore.errors import CoordError

__all__ = ["CaptureFailed", "GuardianLost", "SignalRefused", "StartFailed"]


class StartFailed(CoordError, OSError):
    """An agent could not be started; nothing of it runs."""

    hint: ClassVar[str] = "Install the program, or correct the profile's command; `coord doctor` shows what is found."


class GuardianLost(CoordError, ConnectionError):
    """The guardian process has ended, and every agent of it with it; open another `Guardian`."""


class CaptureFailed(CoordError, OSError):
    """An attempt's output has no safe place to go; the agent was not started."""


class SignalRefused(CoordError, PermissionError):
    """A process that no agent can be was to be signalled (init, this one, one of its own group); nothing was sent."""
