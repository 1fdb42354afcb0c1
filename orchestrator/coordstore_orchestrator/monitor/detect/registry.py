"""Which detectors there are, and what each one's threshold is for an attempt."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordstore.errors import CoordError
from coordstore_orchestrator.registering import add_once, with_hooks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import pluggy

    from coordstore_orchestrator.monitor.detect.finding import Detector, Subject

__all__ = ["Registered", "UnknownDetector", "check_thresholds", "known_detectors", "thresholds", "watch_plugins"]


class UnknownDetector(CoordError, LookupError):
    """No detector has that name; the message lists those there are."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A detector as it was registered.

    Args:
        name: Its name, and that of its threshold.
        detector: Where its class is, ``module:class``.
        limit: Its threshold unless profile or task say otherwise.
        summary: One line for people.
    """

    name: str
    detector: str
    limit: float
    summary: str

    def open(self, subject: Subject) -> Detector | None:
        """Return a detector for one attempt; None: it is not watched for this."""
        limit = subject.thresholds.get(self.name, self.limit)
        if limit <= 0:
            return None
        module, _, name = self.detector.partition(":")
        found: Detector = getattr(importlib.import_module(module), name)(subject, limit)
        return found


@functools.cache
def watch_plugins() -> pluggy.PluginManager:
    """Return the library's plugin manager, which knows our hooks from here on."""
    from coordstore_orchestrator.monitor import builtin
    from coordstore_orchestrator.monitor.detect import hookspecs

    return with_hooks(hookspecs, builtin, "coordstore:watch")


def known_detectors() -> dict[str, Registered]:
    """Return all detectors by name.

    Raises:
        PluginError: A plugin cannot be loaded.
        InvalidArgument: Two detectors have the same name.
    """
    found: dict[str, Registered] = {}

    def register(name: str, detector: str, *, limit: float, summary: str) -> None:
        add_once(found, "a detector", name, Registered(name, detector, limit, summary))

    watch_plugins().hook.register_detectors(register=register)
    return dict(sorted(found.items()))


def check_thresholds(where: str, names: Iterable[str]) -> None:
    """Refuse thresholds that are nobody's.

    Raises:
        UnknownDetector: No detector has that name.
    """
    known = known_detectors()
    for name in names:
        if name not in known:
            message = f"{where}: nothing is watched for under the name {name!r}: there are {', '.join(known)}"
            raise UnknownDetector(message)


def thresholds(*said: Mapping[str, Any]) -> dict[str, float]:
    """Return every detector's threshold for an attempt.

    Args:
        said: What profile and task say, the last one counts.
    """
    found = {name: each.limit for name, each in known_detectors().items()}
    for one in said:
        found |= {name: float(value) for name, value in one.items() if isinstance(value, int | float)}
    return found
