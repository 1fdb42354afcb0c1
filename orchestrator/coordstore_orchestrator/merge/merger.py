"""Integrates completed work: gate, merge, record; one task at a time, in a bare repository of its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from coordstore.model import Check, Put
from coordstore.session import State, events
from coordstore.session.keys import agent_name
from coordstore.session.values import as_value
from coordstore_orchestrator.merge.gate import inspect
from coordstore_orchestrator.plan.scope import Scope

if TYPE_CHECKING:
    from coordstore.session import Attempt, SessionView, Task
    from coordstore.session.session import Session
    from coordstore_orchestrator.merge.integrate import Integration
    from coordstore_orchestrator.monitor.decide import Integrate
    from coordstore_orchestrator.monitor.leadership import Leadership

__all__ = ["Merger", "merge_message"]

log = logging.getLogger(__name__)

NAMED_FILES = 20
"""How many files a reason names."""


@dataclass(frozen=True, slots=True)
class _Verdict:
    """What came of one task: a new tip, or why not."""

    tip: str | None
    refused: str | None = None
    files: tuple[str, ...] = ()


class Merger:
    """Merges the work of completed attempts into one tree.

    Args:
        session: Whose work.
        leadership: That we may.
        integration: The repository that it happens in; it sees every object of the session.
        base: The commit that the first merge goes onto.
    """

    def __init__(
        self,
        session: Session,
        leadership: Leadership,
        integration: Integration,
        base: str,
    ) -> None:
        self._session = session
        self._fence = leadership.fence
        self._integration = integration
        self._base = base

    async def integrate(self, view: SessionView, action: Integrate) -> int:
        """Merge one task's work into the integrated tree, or refuse it; record which; return the revision.

        Merging again after a crash makes another commit of the same tree: what counts is what is recorded, once,
        under a check that the tip has not moved.

        Raises:
            Conflict: The tip moved, or it is recorded already.
            Fenced: Another orchestrator leads by now.
        """
        task = view.tasks[action.task]
        attempt = view.attempt(action.agent)
        if attempt is None or attempt.state is not State.COMPLETED:
            return 0  # what nobody's claim vouches for is not looked at
        tip = await self._session.store.get(view.keys.tip)  # the view may not show the merge before yet
        onto = tip.value.decode() if tip else self._base
        verdict = await self._try(task, attempt, onto)
        if verdict.refused:
            log.warning("work of %s left out: %s", action.agent, verdict.refused)
        return await self._record(attempt, verdict, tip.revision if tip else 0)

    async def _try(self, task: Task, attempt: Attempt, onto: str) -> _Verdict:
        base = str(attempt.json("assignment").get("base") or self._base)
        commit = str(attempt.result.get("commit") or base)
        if commit == base:
            return _Verdict(onto)
        scope = Scope.parse(task.spec.get("writes") or ())
        broken = await inspect(self._integration.path, base, commit, scope.matches)
        if broken:
            files = tuple(violation.path for violation in broken)
            return _Verdict(None, "; ".join(violation.sentence for violation in broken[:NAMED_FILES]), files)
        merged = await self._integration.merge(onto, commit, message=merge_message(task, attempt))
        if merged.oid is None:
            files = tuple(sorted({conflict.path for conflict in merged.conflicts}))
            return _Verdict(
                None, f"conflicts with what was merged before it, in {', '.join(files[:NAMED_FILES])}", files
            )
        return _Verdict(merged.oid)

    async def _record(self, attempt: Attempt, verdict: _Verdict, tip_revision: int) -> int:
        keys = self._session.keys
        record: dict[str, Any] = {"agent": attempt.agent, "merged": verdict.tip is not None}
        if verdict.tip is not None:
            record["commit"] = verdict.tip
        else:
            record |= {"refused": verdict.refused, "files": list(verdict.files)}
        writes = [Put(keys.merged(attempt.task), as_value(record))]
        if verdict.tip is not None:
            writes.append(Put(keys.tip, verdict.tip.encode()))
        checks = [
            Check(keys.merged(attempt.task), revision=0),
            Check(keys.tip, revision=tip_revision),
            Check(keys.agent(attempt.agent, "status"), revision=attempt.entries["status"].revision),
            # A later attempt, whoever made it, takes the place of this one.
            Check(keys.agent(agent_name(attempt.task, attempt.number + 1), "status"), revision=0),
        ]
        told = events.Integrated(
            merged=verdict.tip is not None,
            commit=verdict.tip,
            reason=verdict.refused,
            files=verdict.files[:NAMED_FILES],
        )
        return await self._session.store.transact(
            writes, checks, [self._session.event(attempt.agent, told)], self._fence
        )


def merge_message(task: Task, attempt: Attempt) -> str:
    """Return the message of the commit that merges a task's work."""
    return f"Merge {attempt.agent}: {task.name}\n\nTask: {task.id}\nAgent: {attempt.agent}\n"
