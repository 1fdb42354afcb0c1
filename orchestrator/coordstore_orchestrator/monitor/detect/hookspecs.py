"""What a plugin can add to what agents are watched for, and to what is done about it: one hook, one sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from coordstore.hookspecs import hookspec

if TYPE_CHECKING:
    from coordstore_orchestrator.monitor.recovery import Policy

__all__ = ["RegisterDetector", "RegisterRecovery", "register_detectors", "register_recoveries"]


class RegisterDetector(Protocol):
    """The callable that `register_detectors` receives."""

    def __call__(self, name: str, detector: str, *, limit: float, summary: str) -> None:
        """Register ``module:class`` (a `Detector`, imported at the first use) under its name, with its threshold."""


class RegisterRecovery(Protocol):
    """The callable that `register_recoveries` receives."""

    def __call__(self, name: str, policy: Policy) -> None:
        """Register a policy (``(Failure) -> Retry | None``, a pure function) under its name."""


@hookspec
def register_detectors(register: RegisterDetector) -> None:
    """Register detectors of agents that go wrong."""


@hookspec
def register_recoveries(register: RegisterRecovery) -> None:
    """Register policies of what follows a failed attempt."""
