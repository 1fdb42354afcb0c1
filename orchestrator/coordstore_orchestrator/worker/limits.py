"""What one attempt may use: a small task's limits, then the profile's, then the task's own; the last one counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from coordstore_orchestrator.agents import Profile

__all__ = ["SMALL", "limits_of"]

PLAIN: Final = "plain"
SMALL: Final[Mapping[str, float]] = {"steps": 10}
"""The limits of tasks of size small; of agents whose stream tells steps: one that just prints has none to count."""


def limits_of(profile: Profile, spec: Mapping[str, Any]) -> dict[str, float]:
    """Return the limits of an attempt.

    Args:
        profile: Who runs it.
        spec: Its task.
    """
    small = SMALL if spec.get("size") == "small" and profile.output != PLAIN else {}
    said = {name: value for name, value in (spec.get("limits") or {}).items() if value is not None}
    return {**small, **profile.limits, **said}
