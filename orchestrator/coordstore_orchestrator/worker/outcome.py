"""How an attempt ends, and what of an agent's run makes it a failure whatever was claimed."""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from coordstore.session import events
from coordstore_orchestrator.agents.proof import needs_proof

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from coordstore.session import State
    from coordstore_orchestrator.worker.agentrun import Ran
    from coordstore_orchestrator.worker.contract import Contract
    from coordstore_orchestrator.worker.process import Exit

__all__ = ["GaveUp", "Outcome", "as_pattern", "last_line", "left_behind", "refusal"]


@dataclass(slots=True)
class Outcome:
    """How an attempt ends."""

    state: State
    reason: str | None = None
    code: str | None = None
    commit: str | None = None
    told: list[events.Event] = field(default_factory=list)
    said: str | None = None
    messages: tuple[str, ...] = ()
    evidence: Mapping[str, str] | None = None
    taken: Sequence[str] = ()

    def result(self, exit_status: Exit | None, seconds: float | None = None) -> dict[str, Any]:
        """Return what is stored as the attempt's result; `seconds` are those that its agent ran."""
        found: dict[str, Any] = {
            "code": self.code or str(self.state),
            "reason": self.reason,
            "commit": self.commit,
            "said": self.said,
            "messages": list(self.messages) or None,
            "evidence": self.evidence or None,
            "taken": list(self.taken) or None,
            "seconds": None if seconds is None else round(seconds, 3),
        }
        if exit_status is not None:
            found |= {"exit": exit_status.code, "signal": exit_status.signal}
        return {name: value for name, value in found.items() if value is not None}


class GaveUp(Exception):
    """Ends an attempt early with an outcome."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


def refusal(
    ran: Ran, spec: Mapping[str, Any], contract: Contract | None, *, changed: bool
) -> tuple[str, str | None] | None:
    """Return why an agent's run is no success, with a code; None: so far nothing speaks against it.

    Args:
        ran: The run, which nobody stopped.
        spec: The task.
        contract: What the agent reported.
        changed: Whether anything was committed.
    """
    said = (*_process(ran.exit, ran.failed, contract), *_work(ran, spec, contract, changed=changed))
    return said[0] if said else None


def _process(found: Exit, failed: str | None, contract: Contract | None) -> Iterator[tuple[str, str | None]]:
    """Yield what speaks against it by how its process ended, and by its own words."""
    if found.lost:
        yield "its agent was killed, and nobody saw its end", "lost"
    elif found.signal is not None:
        yield f"its agent was killed by {signal.Signals(found.signal).name}", None
    if contract is not None and contract.failed:
        yield f"its agent gave up: {contract.failed}", "gave-up"
    if found.code not in (0, None):
        yield f"its agent exited with status {found.code}" + (f": {failed}" if failed else ""), None
    elif failed:
        yield f"its agent says that it failed: {failed}", None


def _work(
    ran: Ran, spec: Mapping[str, Any], contract: Contract | None, *, changed: bool
) -> Iterator[tuple[str, str | None]]:
    """Yield what speaks against it by what is there."""
    reports = contract.reports if contract else 0
    if spec.get("writes") and not changed:
        yield "its agent exited with status 0 but changed nothing", "nothing-done"
    if not spec.get("writes") and ran.quiet and not reports:
        yield "its agent exited with status 0 but told nothing", "nothing-done"
    if spec.get("accept") and needs_proof(ran.profile) and not (contract and contract.completed is not None):
        yield "its agent ended without mark_complete: nothing shows that the task's criteria are met", "unreported"


def left_behind(found: Exit) -> list[events.Event]:
    """Return what is told of the processes that a command left running."""
    names = tuple(f"{left.pid} {' '.join(left.argv)[:200]}" for left in found.leftovers)
    return [events.Leftovers(processes=names)] if names else []


def as_pattern(path: str) -> str:
    """Return the pattern of .gitignore that means exactly this path."""
    return "/" + re.sub(r"([*?\[\\ ])", r"\\\1", path)


def last_line(text: str) -> str:
    """Return the last line of an output, shortened."""
    lines = text.strip().splitlines()
    return lines[-1][:300] if lines else "no output"
