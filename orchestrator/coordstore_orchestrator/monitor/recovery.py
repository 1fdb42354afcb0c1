"""What follows a failed attempt, as a policy: a pure function of the task and its attempts.

The standard policy tries again within bounds, each time in another way: first with a hint, then with the next profile
of the fall-back chain, at last with a smaller task; and it waits before, twice as long each time. What a person
limited (steps, cost, deadline) is tried again only as often as the task says.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from coordstore.errors import CoordError
from coordstore.session import State
from coordstore_orchestrator.monitor.postmortem import kept_work
from coordstore_orchestrator.registering import add_once

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from coordstore.session import Attempt, Task

    Policy: TypeAlias = Callable[["Failure"], "Retry | None"]

__all__ = [
    "INTERRUPTED",
    "LOST",
    "STANDARD",
    "Failure",
    "Retry",
    "UnknownRecovery",
    "known_policy",
    "policies",
    "retry_of",
    "standard",
]

INTERRUPTED: Final = "interrupted"
"""Result code of an attempt that was cut off by its own orchestrator's end: resuming tries again."""
LOST: Final = "lost"
"""Result code of an attempt whose worker died: trying again costs none of the task's attempts."""
STANDARD: Final = "standard"
WATCHED_ATTEMPTS: Final = 3
"""Attempts of a task whose failures a detector found, unless the task says otherwise."""
BASE: Final = 1.0
"""Seconds before the second attempt; doubled with each one after that."""
MOST: Final = 60.0
"""Seconds between two attempts, at most."""
DOUBLINGS: Final = 16
SMALLER: Final = (
    "This is the last attempt, so do less: the smallest part of the task that is whole by itself and leaves everything"
    " working. Say in your summary what is still to be done."
)
PARTIAL: Final = "The work of that attempt is on the branch {branch} at {commit}: look at it, take what is good."


class UnknownRecovery(CoordError, LookupError):
    """No recovery policy has that name; the message lists those there are."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A task whose latest attempt failed.

    Args:
        task: The task with all its attempts.
        latest: The attempt that failed last.
        spent: How many attempts count: those that were lost or interrupted do not.
        limit: How many the task itself allows; None: it does not say.
    """

    task: Task
    latest: Attempt
    spent: int
    limit: int | None

    @property
    def detector(self) -> str | None:
        """Return the detector that stopped it, or None."""
        found = self.latest.json("verdict").get("code")
        return found if isinstance(found, str) and found == self.latest.result.get("code") else None


@dataclass(frozen=True, slots=True)
class Retry:
    """How a task is tried again.

    Args:
        hint: What the attempt is told beyond the prompt.
        other: How many profiles of the fall-back chain it passes over.
        wait: Seconds before it.
    """

    hint: str | None = None
    other: int = 0
    wait: float = 0.0


def standard(failure: Failure) -> Retry | None:
    """Try again with a hint, then also with another profile, the last time also with a smaller task; None: give up."""
    default = WATCHED_ATTEMPTS if failure.detector else 1
    limit = failure.limit if failure.limit is not None else default
    if failure.spent >= limit:
        return None
    told = [f"An earlier attempt at this task ended without success: {failure.latest.reason}"]
    verdict = failure.latest.json("verdict")
    if failure.detector and isinstance(verdict.get("hint"), str):
        told.append(verdict["hint"])
    if work := kept_work(failure.latest):
        told.append(PARTIAL.format(branch=failure.latest.agent, commit=work[:12]))
    if failure.spent > 1 and failure.spent + 1 == limit:
        told.append(SMALLER)
    wait = min(MOST, BASE * 2.0 ** min(failure.spent - 1, DOUBLINGS))
    return Retry("\n".join(told), failure.spent - 1 if failure.detector else 0, wait)


@functools.cache
def policies() -> Mapping[str, Policy]:
    """Return all recovery policies by name.

    Raises:
        PluginError: A plugin cannot be loaded.
        InvalidArgument: Two policies have the same name.
    """
    from coordstore_orchestrator.monitor.detect.registry import watch_plugins

    found: dict[str, Policy] = {}

    def register(name: str, policy: Policy) -> None:
        add_once(found, "a recovery policy", name, policy)

    watch_plugins().hook.register_recoveries(register=register)
    return dict(sorted(found.items()))


def retry_of(task: Task, policy: object = None) -> Retry | None:
    """Return how a task whose latest attempt has ended is tried again; None: not at all.

    Args:
        task: As the view shows it.
        policy: The name of the session's policy; None: the standard one.

    Raises:
        UnknownRecovery: There is none of that name.
    """
    latest = task.latest
    if latest is None:
        return Retry()
    if "retry" in latest.entries:
        return Retry(latest.text("retry") or None)
    if latest.result.get("code") in (LOST, INTERRUPTED):
        return Retry(_cut_off(latest))
    if latest.state is not State.FAILED:
        return None
    spent = sum(attempt.result.get("code") not in (LOST, INTERRUPTED) for attempt in task.attempts)
    return _policy(policy)(Failure(task, latest, spent, _limit(task.spec)))


def _cut_off(latest: Attempt) -> str | None:
    if latest.state is not State.FAILED:
        return None
    return f"An earlier attempt at this task ended without success: {latest.reason}"


def _limit(spec: Mapping[str, Any]) -> int | None:
    limits = spec.get("limits")
    found = limits.get("attempts") if isinstance(limits, dict) else None
    return found if isinstance(found, int) else None


def known_policy(name: str) -> str:
    """Return the name of a policy, if there is one of that name.

    Raises:
        UnknownRecovery: There is none; the message lists those there are.
    """
    known = policies()
    if name not in known:
        message = f"no recovery policy {name!r}: there are {', '.join(known)}"
        raise UnknownRecovery(message)
    return name


def _policy(name: object) -> Policy:
    return policies()[STANDARD if name is None else known_policy(str(name))]
